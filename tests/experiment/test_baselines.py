"""Baselines on the pooled features of a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SMALL, run_small, stored

from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.predict import load_baseline
from clsbench.experiment.run import FinishedRun
from clsbench.results.store import StoredRun
from clsbench.schema.options import RunOptions

KEEPING = """
import clsbench
import numpy as np

class Keeping:
    def __init__(self, path):
        self.path = path

    def fit(self, features, labels, validation_features, validation_labels):
        np.savez(
            self.path, train=features, labels=labels,
            validation=validation_features, validation_labels=validation_labels,
        )

    def predict(self, features):
        return np.zeros(len(features), dtype=int)

class KeepsFeatures(clsbench.Baseline):
    "Writes the features to a file."

    inputs = "pooled-features"
    path: str

    def build(self, seed):
        return Keeping(self.path)

@clsbench.hookimpl
def clsbench_register_baselines():
    return {"keeps-features": KeepsFeatures}
"""


FEW = {
    "dataset": "synthetic-sms:texts=100",
    "data__split": "stratified",
    "train__epochs": 1,
}


def kept(tmp_path: Path, name: str, **changes: Any) -> tuple[FinishedRun, dict[str, np.ndarray]]:
    """A run, and the features that its baseline was given."""
    (tmp_path / "keeps.py").write_text(KEEPING)
    path = tmp_path / f"{name}.npz"
    table = {"name": "keeps-features", "path": str(path)}
    plugin = str(tmp_path / "keeps.py")
    run = run_small(tmp_path / name, baselines=[table], plugins=[plugin], **changes)
    with np.load(path) as arrays:
        return run, dict(arrays)


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [
        ("head-only", "mean"),
        ("last-blocks", "last-token"),
        pytest.param("head-only", "last-token", marks=pytest.mark.slow),
        pytest.param("last-blocks", "mean", marks=pytest.mark.slow),
        pytest.param("all", "last-token", marks=pytest.mark.slow),
        pytest.param("all", "mean", marks=pytest.mark.slow),
    ],
)
def test_initial_features_with_shortcuts_equal_those_of_the_plain_path(
    tmp_path: Path, freezing: str, pooling: str
) -> None:
    chosen = {"freezing": freezing, "pooling": pooling, **FEW}
    _, fast = kept(tmp_path, "fast", **chosen)
    _, plain = kept(tmp_path, "plain", given={"plain": True}, **chosen)
    assert fast["train"].dtype == np.float32
    for name in ("train", "validation"):
        assert fast[name] == pytest.approx(plain[name], abs=1e-5)
    assert fast["train"].std(axis=0).min() > 0
    assert len(fast["train"]) == len(fast["labels"])
    assert len(fast["validation"]) == len(fast["validation_labels"])


def test_initial_features_do_not_depend_on_training(tmp_path: Path) -> None:
    _, once = kept(tmp_path, "once", freezing="all", train__lr=1e-2, **FEW)
    _, head = kept(tmp_path, "head", freezing="head-only", **FEW)
    assert once["train"] == pytest.approx(head["train"], abs=1e-5)


def test_run_with_a_baseline_on_features_trains_as_without_it(
    finished: FinishedRun, tmp_path: Path
) -> None:
    run, _ = kept(tmp_path, "runs")
    steps = [
        [(each.step, each.train_loss, each.validation_loss) for each in one.record.history.steps]
        for one in (run, finished)
    ]
    assert len(steps[0]) > 1
    assert steps[0] == steps[1]
    assert run.record.metrics == finished.record.metrics


def test_load_baseline_on_features_repeats_the_predictions_of_the_run(tmp_path: Path) -> None:
    run = run_small(tmp_path, baselines=["frozen-logreg"], train__lr=1e-2)
    catalog = load_catalog()
    options = RunOptions(device="cpu", threads=1, offline=True)
    stored_run = StoredRun(stored(run), run.record)
    predictor = load_baseline(stored_run, "frozen-logreg", options, catalog)
    corpus = resolve(find_spec("gpt2-sms-spam", catalog), SMALL, catalog).dataset.load({})
    with (stored(run) / "baselines.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    found = predictor.predict([corpus.texts[int(row["row"])] for row in rows])
    named = [predictor.class_names[label] for label in found]
    assert named == [row["frozen-logreg:c=auto"] for row in rows]
    assert predictor.predict([]).shape == (0,)
