"""A run on text pairs whose class depends on both texts, and predictions with it."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from predicting import in_process, probabilities
from small_runs import run_small, stored

import clsbench
from clsbench.analysis.mistakes import mistakes
from clsbench.components.catalog import load_catalog
from clsbench.experiment.preparation import texts_of
from clsbench.experiment.run import FinishedRun
from clsbench.report.page.details import wrong_texts
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun
from clsbench.schema.options import RunOptions

COLORS = ("red", "blue", "green", "black")


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each text occurs with both classes: only the pair says whether the colors are the same."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = []
    for number, first, second in itertools.product(range(5), COLORS, COLORS):
        for _ in range(3 if first == second else 1):  # classes of the same size
            label = "same" if first == second else "other"
            rows.append((f"car {number} is {first}", f"a {second} car", label))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("premise", "hypothesis", "label"), *rows])
    return path


@pytest.fixture(scope="module")
def dataset(pairs_file: Path) -> str:
    return f"csv:path={pairs_file},text=premise,text_pair=hypothesis"


@pytest.fixture(scope="module")
def finished(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    out = tmp_path_factory.mktemp("runs")
    changes = {
        "pooling": "last-real-token",
        "train.epochs": 1,
        "train.eval_every": 50,
        "data.padding": "longest-train",
    }
    baselines = ["tfidf-logreg:c=1", "frozen-logreg:c=1"]
    return run_small(out, dataset=dataset, baselines=baselines, **changes)


def test_run_on_pairs_records_them_and_takes_the_shortcuts(finished: FinishedRun) -> None:
    record = finished.record
    assert record.status == "finished", record.error
    assert record.data is not None
    assert record.data.text_pairs
    assert record.data.class_names == ("other", "same")
    assert record.fast_path is not None
    assert all(each.taken for each in record.fast_path.shortcuts), record.fast_path.shortcuts
    assert [each.component.partition(":")[0] for each in record.baselines] == [
        "tfidf-logreg",
        "frozen-logreg",
    ]
    assert record.warnings == ()


@pytest.mark.slow
def test_run_on_pairs_learns_a_class_that_depends_on_both_texts(
    dataset: str, tmp_path: Path
) -> None:
    changes = {"train.epochs": 10, "train.lr": 1e-3, "freezing": "all", "data.padding": 20}
    record = run_small(tmp_path, dataset=dataset, **changes).record
    assert record.metrics is not None
    assert record.metrics.test.accuracy > 0.9
    alone = dataset.replace(",text_pair=hypothesis", "")
    record = run_small(tmp_path, dataset=alone, **changes).record
    assert record.metrics is not None
    assert record.metrics.test.accuracy < 0.7


def test_predict_pairs_of_the_file_equals_the_run(finished: FinishedRun, pairs_file: Path) -> None:
    run = stored(finished)
    done = in_process(run, "--csv", pairs_file, "--format", "csv", "--offline")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0])[:3] == ["premise", "hypothesis", "label"]
    found = np.array([[float(row[f"probability_{n}"]) for n in ("other", "same")] for row in rows])
    expected = read_predictions(StoredRun(run, finished.record))
    assert found[expected.rows] == pytest.approx(expected.probabilities, abs=1e-6)


@pytest.mark.parametrize("name", ["tfidf-logreg", "frozen-logreg"])
def test_predict_pairs_with_a_baseline_equals_the_run(
    finished: FinishedRun, pairs_file: Path, name: str
) -> None:
    run = stored(finished)
    done = in_process(run, "--baseline", name, "--csv", pairs_file, "--format", "csv", "--offline")
    found = [row["predicted"] for row in csv.DictReader(io.StringIO(done.stdout))]
    expected = read_predictions(StoredRun(run, finished.record))
    (component,) = (each for each in expected.baselines if each.startswith(name))
    classes = [expected.class_names[place] for place in expected.baselines[component]]
    assert [found[row] for row in expected.rows] == classes


def test_predict_pairs_by_arguments_and_stdin_agree(finished: FinishedRun) -> None:
    run = stored(finished)
    first, second = "car 1 is red", "a blue car"
    done = in_process(run, first, "x", "--pair", second, "--pair", "y", "--json", "--offline")
    lines = f"{first}\t{second}\nx\ty\n".encode()
    assert in_process(run, "--json", "--offline", text_in=lines).stdout == done.stdout
    answer = json.loads(done.stdout)["predictions"][0]
    assert (answer["text"], answer["text_pair"]) == (first, second)
    other = in_process(run, second, "--pair", first, "--json", "--offline")
    assert probabilities(other.stdout) != probabilities(done.stdout)[:1]


@pytest.mark.parametrize(
    ("arguments", "lines", "said"),
    [
        (("a", "b"), b"", "trained on text pairs, but text 1 has no second text"),
        (("a", "b", "--pair", "c"), b"", "2 TEXT and 1 --pair were given"),
        (("--pair", "c"), b"", "--pair TEXT gives the second text of a TEXT"),
        ((), b"a\tb\nc\n", "stdin, line 2: no tab, expected one between the two texts"),
        ((), b"a\tb\tc\n", "stdin, line 1: 2 tabs, expected one"),
        (("--baseline", "tfidf-logreg", "a"), b"", "trained on text pairs"),
    ],
)
def test_predict_texts_that_are_not_pairs_is_refused(
    finished: FinishedRun, arguments: tuple[str, ...], lines: bytes, said: str
) -> None:
    with pytest.raises(clsbench.UsageError) as caught:
        in_process(stored(finished), *arguments, "--offline", text_in=lines)
    assert said in str(caught.value)


def test_texts_of_a_run_on_pairs_are_pairs(finished: FinishedRun) -> None:
    run = StoredRun(stored(finished), finished.record)
    texts = texts_of(finished.record, RunOptions(offline=True), load_catalog())
    assert texts is not None
    for mistake in mistakes({"run": run}).found:
        first, second = texts[mistake.row]
        assert first.startswith("car")
        assert (first.split()[-1] == second.split()[1]) == (mistake.label == "same")
    shown = wrong_texts(mistakes({"run": run}), texts).shown
    assert all(" | a " in (each.text or "") for each in shown)


def test_run_on_single_texts_with_a_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(clsbench.UsageError, match="requires text pairs, but the data set"):
        run_small(tmp_path, dry_run=True, data__pair_separator="|")
