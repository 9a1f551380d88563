"""What was answered to every text: written, and read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clsbench.errors import UsageError
from clsbench.results.answers import read_answers, write_baseline_answers, write_predictions
from clsbench.values import Split, Splits


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
def test_predictions_come_back_exactly(
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


def test_predictions_of_the_splits_that_were_reached(tmp_path: Path) -> None:
    splits = make_splits(("ham", "spam"), (3, 2, 4))
    write_predictions(tmp_path, splits, {"test": np.full((4, 2), 0.5)})
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[0] == "split,row,label,probability_ham,probability_spam"
    assert len(lines) == 5
    assert all(line.startswith("test,") for line in lines[1:])


def test_predictions_of_another_shape_are_refused(tmp_path: Path) -> None:
    splits = make_splits(("ham", "spam"), (3, 2, 4))
    with pytest.raises(ValueError, match=r"probabilities of test are \(4, 3\), expected \(4, 2\)"):
        write_predictions(tmp_path, splits, {"test": np.zeros((4, 3))})


@settings(max_examples=40)
@example(["0", "00"], 0)
@example(["0", "INF"], 0)
@example(["NA", "1e3"], 0)
@given(class_names.filter(lambda names: len(set(names)) == len(names)), st.integers(0, 2**32 - 1))
def test_answers_are_read_as_they_were_given(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    splits = make_splits(tuple(names), (3, 2, 4))
    generator = np.random.default_rng(seed)
    probabilities = {s.name: generator.random((len(s), len(names))) for s in splits.all()}
    called = {
        baseline: {s.name: generator.integers(0, len(names), len(s)) for s in splits.all()}
        for baseline in ("majority", 'tfidf-logreg:ngrams=2,c=0.5, "quoted"')
    }
    write_predictions(directory, splits, probabilities)
    write_baseline_answers(directory, splits, called)
    found = read_answers(directory, names)
    assert found.class_names == tuple(names)
    assert found.rows.tolist() == list(splits.test.rows)
    assert found.labels.tolist() == list(splits.test.labels)
    np.testing.assert_array_equal(found.probabilities, probabilities["test"])
    assert found.called.tolist() == probabilities["test"].argmax(axis=1).tolist()
    assert found.baselines.keys() == called.keys()
    for baseline, by_split in called.items():
        assert found.baselines[baseline].tolist() == by_split["test"].tolist()
    train = read_answers(directory, names, "train")
    np.testing.assert_array_equal(train.probabilities, probabilities["train"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "has no answers to the test texts"),
        ("split,row,label,probability_ham,probability_spam\n", "has no answers"),
        ("split,row,label,probability_ham\ntest,1,ham,1.0\n", "1 probabilities a text for 2"),
        ("split,row,label,p,q\ntest,1,eggs,0.5,0.5\n", "there is no class 'eggs'"),
        ("split,row,label,p,q\ntest,1,ham,abc,0.5\n", "is damaged: could not convert"),
        ("split,row,label,p,q\ntest,one,ham,0.5,0.5\n", "is damaged: invalid literal"),
        ("a,b\n1,2\n", "its header is a, b"),
        ("", "is damaged"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(UsageError, match=told):
        read_answers(tmp_path, ("ham", "spam"))


def test_baselines_that_answered_other_texts_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(
        "split,row,label,p,q\ntest,1,ham,0.5,0.5\ntest,2,ham,0.5,0.5\n"
    )
    (tmp_path / "baselines.csv").write_text("split,row,label,majority\ntest,1,ham,ham\n")
    with pytest.raises(UsageError, match="holds other texts than predictions"):
        read_answers(tmp_path, ("ham", "spam"))
