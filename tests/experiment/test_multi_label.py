"""Experiments on texts with any number of labels, from the file to predictions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from small_runs import run_small, stored

from clsbench.analysis.thresholds import best_thresholds
from clsbench.components.catalog import load_catalog
from clsbench.components.labels import label_array
from clsbench.components.resolve import find_spec, resolve
from clsbench.errors import UsageError
from clsbench.experiment.predict import load_baseline, load_predictor
from clsbench.experiment.preparation import prepare_data
from clsbench.experiment.run import FinishedRun
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun
from clsbench.schema.options import RunOptions

WORDS = {"billing": ("invoice", "refund"), "login": ("password", "locked"), "speed": ("slow",)}


def write_texts(path: Path, texts: int = 120) -> Path:
    generator = random.Random(0)
    lines = ["text,topics"]
    for number in range(texts):
        own = [topic for topic in WORDS if generator.random() < 0.4]
        words = [generator.choice(WORDS[topic]) for topic in own] + ["hello", str(number)]
        generator.shuffle(words)
        lines.append(f"{' '.join(words)},{'|'.join(own)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "tickets.csv")


def test_multi_label_data_are_split_and_encoded(texts: Path) -> None:
    catalog = load_catalog()
    changes = {"dataset": f"csv:path={texts},labels=topics", "backbone": "gpt2-nano"}
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), changes, catalog)
    data = prepare_data(experiment, {})
    assert data.facts.multi_label
    assert data.tokens.train.labels.shape == (84, 3)
    expected = label_array(data.splits.train.labels, 3)
    assert np.array_equal(data.tokens.train.labels.numpy(), expected)
    counts = dict(zip(data.facts.class_names, expected.sum(axis=0).tolist(), strict=True))
    assert data.facts.class_counts["train"] == counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.balance": True}, "data.balance=true requires one class per text"),
        ({"train.ignore_index": 0}, "train.ignore_index=0 leaves .* is multi-label"),
        ({"data.train_size": 1}, "data.train_size = 1 is too small"),
    ],
)
def test_multi_label_settings_for_one_class_are_refused(
    changes: dict[str, Any], message: str, texts: Path, tmp_path: Path
) -> None:
    dataset = f"csv:path={texts},labels=topics"
    with pytest.raises(UsageError, match=message):
        run_small(tmp_path, dry_run=True, dataset=dataset, **changes)


@pytest.fixture(scope="module")
def run(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_small(
        tmp_path_factory.mktemp("runs"),
        dataset=f"csv:path={texts},labels=topics",
        baselines=["majority", "tfidf-logreg:c=10", "frozen-logreg:c=0.01"],
        train__lr=3e-3,
        train__select="best-validation",
    )


@pytest.mark.slow
def test_multi_label_run_records_the_thresholds_of_validation(run: FinishedRun) -> None:
    assert run.record.error is None
    validation = read_predictions(StoredRun(stored(run), run.record), "validation")
    found = best_thresholds(validation.labels, validation.probabilities)
    assert tuple(run.record.thresholds.values()) == found
    test = read_predictions(StoredRun(stored(run), run.record))
    assert np.array_equal(test.predicted, test.probabilities >= np.array(found))
    assert run.record.metrics is not None
    figures = run.record.metrics.test
    expected = f1_score(test.labels, test.predicted, average="micro")
    assert figures.scores["micro-f1"] == pytest.approx(expected, rel=1e-12)
    assert "micro-f1" in figures.intervals
    assert figures.correct == int((test.labels == test.predicted).all(axis=1).sum())
    assert run.record.history is not None
    selection = run.record.history.selection
    assert selection is not None
    assert selection.metric == "micro-f1"
    assert selection.used_epoch == selection.best_epoch
    on_validation = run.record.metrics.validation.scores["micro-f1"]
    assert selection.scores[selection.best_epoch - 1] == on_validation
    by_label = f1_score(test.labels, test.predicted, average=None)
    assert [each.f1 for each in figures.label_counts] == pytest.approx(list(by_label))


@pytest.mark.slow
def test_multi_label_run_without_shortcuts_gives_the_same(
    run: FinishedRun, texts: Path, tmp_path: Path
) -> None:
    plain = run_small(
        tmp_path,
        dataset=f"csv:path={texts},labels=topics",
        baselines=[],
        train__lr=3e-3,
        train__select="best-validation",
        given={"plain": True},
    )
    fast = read_predictions(StoredRun(stored(run), run.record))
    slow = read_predictions(StoredRun(stored(plain), plain.record))
    np.testing.assert_allclose(fast.probabilities, slow.probabilities, atol=1e-4)


@pytest.mark.slow
def test_multi_label_predictors_predict_what_is_stored(run: FinishedRun, texts: Path) -> None:
    catalog, options = load_catalog(), RunOptions(threads=1, offline=True)
    test = read_predictions(StoredRun(stored(run), run.record))
    lines = texts.read_text().splitlines()[1:]
    asked = [lines[row].split(",")[0] for row in test.rows]
    predictor = load_predictor(stored(run), options, catalog)
    found = predictor.predict(asked)
    np.testing.assert_allclose(found, test.probabilities, atol=1e-6)
    assert np.array_equal(predictor.labels(test.probabilities), test.predicted)
    assert len(test.baselines) == 3
    assert test.baseline_probabilities.keys() == test.baselines.keys()
    for name, expected in test.baselines.items():
        baseline = load_baseline(StoredRun(stored(run), run.record), name, options, catalog)
        assert np.array_equal(baseline.predict(asked), expected)
