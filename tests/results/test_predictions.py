"""Predictions of a run: written, read back, and checked against the record."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from record_examples import make_record

from clsbench.analysis.metrics import split_metrics
from clsbench.components.values import Split, Splits
from clsbench.errors import UsageError
from clsbench.results.csvtext import csv_line
from clsbench.results.integrity import files_sha256
from clsbench.results.predictions import (
    read_predictions,
    write_baseline_predictions,
    write_predictions,
)
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, Metrics

Edit = Callable[[list[list[str]]], None]


def make_splits(class_names: tuple[str, ...], sizes: tuple[int, int, int]) -> Splits:
    generator = np.random.default_rng(5)
    first = 0
    made = []
    for name, size in zip(("train", "validation", "test"), sizes, strict=True):
        labels = tuple(int(v) for v in generator.integers(0, len(class_names), size))
        rows = tuple(range(first, first + size))
        made.append(Split(name=name, rows=rows, texts=("x",) * size, labels=labels))
        first += size
    return Splits(class_names=class_names, train=made[0], validation=made[1], test=made[2])


class_names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12),
    min_size=2,
    max_size=5,
)


@settings(max_examples=40)
@given(class_names, st.sampled_from(["float32", "float64"]), st.integers(0, 2**32 - 1))
def test_write_predictions_preserves_values_exactly(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], dtype: str, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    splits = make_splits(tuple(names), (3, 2, 4))
    generator = np.random.default_rng(seed)
    probabilities = {
        s.name: generator.random((len(s), len(names))).astype(dtype) for s in splits.all()
    }
    write_predictions(directory, splits, probabilities)
    with (directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["split", "row", "label"]
    assert len(set(header)) == len(header) == 3 + len(names)
    assert all(h.startswith(f"probability_{n}") for h, n in zip(header[3:], names, strict=True))
    expected = [
        (s.name, row, names[label])
        for s in splits.all()
        for row, label in zip(s.rows, s.labels, strict=True)
    ]
    assert [(split, int(row), label) for split, row, label, *_ in rows] == expected
    read = np.array([row[3:] for row in rows]).astype(dtype)
    np.testing.assert_array_equal(read, np.concatenate(list(probabilities.values())))


def test_write_predictions_of_some_splits_writes_only_these(tmp_path: Path) -> None:
    splits = make_splits(("ham", "spam"), (3, 2, 4))
    write_predictions(tmp_path, splits, {"test": np.full((4, 2), 0.5)})
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[0] == "split,row,label,probability_ham,probability_spam"
    assert len(lines) == 5
    assert all(line.startswith("test,") for line in lines[1:])


def test_write_predictions_with_a_wrong_shape_raises(tmp_path: Path) -> None:
    splits = make_splits(("ham", "spam"), (3, 2, 4))
    with pytest.raises(ValueError, match=r"probabilities of test are \(4, 3\), expected \(4, 2\)"):
        write_predictions(tmp_path, splits, {"test": np.zeros((4, 3))})


def make_run(
    directory: Path,
    class_names: tuple[str, ...] = ("ham", "spam"),
    sizes: tuple[int, int, int] = (3, 2, 4),
    seed: int = 0,
    baselines: tuple[str, ...] = ("majority",),
    probable: tuple[str, ...] = (),
) -> StoredRun:
    """A run with random predictions and a matching record; ``probable`` baselines have
    probabilities."""
    splits = make_splits(class_names, sizes)
    generator = np.random.default_rng(seed)
    count = len(class_names)
    probabilities = {s.name: generator.dirichlet(np.ones(count), len(s)) for s in splits.all()}
    predictions = {
        name: {s.name: generator.integers(0, count, len(s)) for s in splits.all()}
        for name in baselines
    }
    write_predictions(directory, splits, probabilities)
    given = {
        name: {s.name: generator.dirichlet(np.ones(count), len(s)) for s in splits.all()}
        for name in probable
    }
    write_baseline_predictions(directory, splits, predictions, given)

    def metrics(predicted: Mapping[str, np.ndarray]) -> Metrics:
        return Metrics(
            **{s.name: split_metrics(np.array(s.labels), predicted[s.name], count, metrics={})
               for s in splits.all()}
        )  # fmt: skip

    record = make_record()
    assert record.data is not None
    record = msgspec.structs.replace(
        record,
        data=msgspec.structs.replace(record.data, class_names=class_names),
        metrics=metrics({name: array.argmax(axis=1) for name, array in probabilities.items()}),
        baselines=tuple(
            BaselineResult(
                component=name,
                metrics=metrics(predicted),
                seconds=0.1,
                probabilities=name in probable,
            )
            for name, predicted in predictions.items()
        ),
    )
    return StoredRun(directory, record)


def sealed(run: StoredRun) -> StoredRun:
    """The same run with the hashes of its files in the record."""
    hashes = files_sha256(run.path)
    return run._replace(record=msgspec.structs.replace(run.record, files_sha256=hashes))


@settings(max_examples=15)
@example(["0", "00"], 0)
@example(["0", "INF"], 0)
@example(["NA", "1e3"], 0)
@example(["row", "split", "label", ""], 0)
@given(class_names.filter(lambda names: len(set(names)) == len(names)), st.integers(0, 2**32 - 1))
def test_read_predictions_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    baselines = ("majority", 'tfidf-logreg:ngrams=2,c=0.5, "quoted"', "row")
    run = sealed(make_run(directory, tuple(names), seed=seed, baselines=baselines))
    splits = make_splits(tuple(names), (3, 2, 4))
    for split in splits.all():
        found = read_predictions(run, split.name)
        assert found.class_names == tuple(names)
        assert found.rows.tolist() == list(split.rows)
        assert found.labels.tolist() == list(split.labels)
        assert found.predicted.tolist() == found.probabilities.argmax(axis=1).tolist()
        assert tuple(found.baselines) == baselines
        generator = np.random.default_rng(seed)
        drawn = {s.name: generator.dirichlet(np.ones(len(names)), len(s)) for s in splits.all()}
        np.testing.assert_array_equal(found.probabilities, drawn[split.name])


HEADER = "split,row,label,probability_ham,probability_spam\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no predictions for the test split"),
        (HEADER, "has no predictions"),
        (HEADER + "test,1,ham,1.0\n", "could not convert string to float: ''"),
        (HEADER + "test,1,ham,1.0,0.0,0.0\n", "is damaged: Error tokenizing data"),
        ("split,row,label,probability_ham\ntest,1,ham,1.0\n", "its columns are probability_ham;"),
        (HEADER + "test,1,eggs,0.5,0.5\n", "unknown class 'eggs'"),
        (HEADER + "test,1,ham,abc,0.5\n", "is damaged: could not convert"),
        (
            HEADER + "test,one,ham,0.5,0.5\n",
            "the row 'one' is not an index into the corpus of 5,572",
        ),
        ("a,b\n1,2\n", "its header is a, b"),
        ("", "is damaged"),
        ("\0\0\0", "is damaged"),
    ],
)
def test_read_predictions_of_a_damaged_file_names_it(
    tmp_path: Path, content: str | None, message: str
) -> None:
    run = make_run(tmp_path)
    (tmp_path / "predictions.csv").unlink()
    if content is not None:
        (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_predictions(run)


def reverse_header(lines: list[list[str]]) -> None:
    lines[0][3:] = lines[0][:2:-1]


def reverse_columns(lines: list[list[str]]) -> None:
    for line in lines[1:]:
        line[3:] = line[:2:-1]


def change(changed: dict[int, str]) -> Edit:
    """Set some fields of the last line."""

    def edit(lines: list[list[str]]) -> None:
        for place, text in changed.items():
            lines[-1][place] = text

    return edit


def drop_a_line(lines: list[list[str]]) -> None:
    del lines[-2]


def repeat_a_line(lines: list[list[str]]) -> None:
    lines.append(lines[-1])


EDITS = {
    "reversed header": (reverse_header, "its columns are probability_spam, probability_ham"),
    "reversed columns": (reverse_columns, "its test predictions do not match"),
    "probability 5": (change({3: "5", 4: "-4"}), "the probabilities of row 8 are 5.0, -4.0"),
    "sum 1.2": (change({3: "0.7", 4: "0.5"}), "with the sum 1"),
    "infinite": (change({3: "inf"}), "the probabilities of row 8 are inf"),
    "not a number": (change({4: "nan"}), "nan; expected numbers from 0 to 1"),
    "no number": (change({4: ""}), "is damaged: could not convert"),
    "30 nines": (change({1: "9" * 30}), "the row '9{30}' is not an index"),
    "negative row": (change({1: "-1"}), "the row '-1' is not an index"),
    "row beyond the corpus": (change({1: "5572"}), "the row '5572' is not an index"),
    "a row in other digits": (change({1: "٣"}), "is not an index"),
    "a line less": (drop_a_line, "of 3 are correct; recorded: . of 4"),
    "a line more": (repeat_a_line, "of 5 are correct; recorded"),
    "another split": (change({0: "tset"}), "of 3 are correct; recorded"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.parametrize("with_hashes", [False, True])
def test_read_predictions_that_disagree_with_the_record_are_damaged(
    tmp_path: Path, case: str, with_hashes: bool
) -> None:
    run = make_run(tmp_path)
    run = sealed(run) if with_hashes else run
    read_predictions(run)
    edit, message = EDITS[case]
    rewrite(tmp_path / "predictions.csv", edit)
    with pytest.raises(UsageError) as refused:
        read_predictions(run)
    assert f"{tmp_path / 'predictions.csv'} is damaged: " in str(refused.value)
    if with_hashes:
        assert "its content has changed since the run stored it" in str(refused.value)
    else:
        assert re.search(message, str(refused.value))


@pytest.mark.parametrize("change", [{"correct": -1}, {"accuracy": 0.99}, {"n": 5}])
def test_read_predictions_record_figures_that_disagree_are_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run = make_run(tmp_path)
    metrics = run.record.metrics
    assert metrics is not None
    other = replace(metrics, test=replace(metrics.test, **change))
    with pytest.raises(
        UsageError, match=r"predictions\.csv is damaged: .* do not match the metrics"
    ):
        read_predictions(run._replace(record=replace(run.record, metrics=other)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_a_line, "its texts differ from those in predictions.csv"),
        (change({1: "6"}), "its texts differ from those in predictions.csv"),
        (change({3: "eggs"}), "unknown class 'eggs'"),
        (lambda lines: lines[0].__setitem__(3, "other"), "its columns are other; expected"),
        (lambda lines: lines[-1].__setitem__(3, {"ham": "spam", "spam": "ham"}[lines[-1][3]]),
         "test predictions of majority do not match"),
    ],
)  # fmt: skip
def test_read_predictions_baselines_that_disagree_with_the_record_are_damaged(
    tmp_path: Path, edit: Edit, message: str
) -> None:
    run = make_run(tmp_path, sizes=(3, 2, 40))
    rewrite(tmp_path / "baselines.csv", edit)
    with pytest.raises(UsageError, match=message) as refused:
        read_predictions(run)
    assert f"{tmp_path / 'baselines.csv'} is damaged: " in str(refused.value)


@pytest.mark.parametrize("name", ["predictions.csv", "baselines.csv"])
def test_read_predictions_missing_file_in_the_record_is_an_error(tmp_path: Path, name: str) -> None:
    run = sealed(make_run(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=f"{name} is missing from the run"):
        read_predictions(run)


def test_read_predictions_probabilities_of_some_baselines_are_read_exactly(tmp_path: Path) -> None:
    names = ("majority", "tfidf-logreg:ngrams=1,c=auto", "other")
    run = make_run(tmp_path, ("a,b", "a b", "spam"), baselines=names, probable=names[1:])
    found = read_predictions(run)
    assert found.baselines.keys() == set(names)
    assert found.baseline_probabilities.keys() == set(names[1:])
    lines = list(csv.reader((tmp_path / "baselines.csv").open(newline="")))
    assert lines[0][6:9] == [f"{names[1]} probability_{name}" for name in found.class_names]
    test = np.array([line[6:] for line in lines if line[0] == "test"], dtype=np.float64)
    assert np.array_equal(np.hstack(list(found.baseline_probabilities.values())), test)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change({4: "2"}), "the probabilities of row .* expected numbers from 0 to 1 with the sum"),
        (change({5: "nan"}), "the probabilities of row"),
        (lambda lines: [line.pop() for line in lines], "its columns are .*; expected by"),
    ],
)
def test_read_predictions_damaged_probabilities_of_baselines_are_refused(
    tmp_path: Path, edit: Edit, message: str
) -> None:
    run = make_run(tmp_path, sizes=(3, 2, 40), probable=("majority",))
    rewrite(tmp_path / "baselines.csv", edit)
    with pytest.raises(UsageError, match=message):
        read_predictions(run)


def test_read_predictions_older_run_whose_baselines_have_no_probabilities_is_read(
    tmp_path: Path,
) -> None:
    found = read_predictions(make_run(tmp_path))
    assert found.baselines.keys() == {"majority"}
    assert found.baseline_probabilities == {}


def test_read_predictions_older_run_without_baselines_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "baselines.csv").unlink()
    assert read_predictions(run).baselines == {}


def rewrite(file: Path, edit: Edit) -> None:
    with file.open(newline="", encoding="utf-8") as content:
        lines = list(csv.reader(content))
    edit(lines)
    file.write_text("".join(map(csv_line, lines)), encoding="utf-8")
