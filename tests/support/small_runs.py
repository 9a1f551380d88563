"""Runs of a small experiment."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.predict import Predictor
from clsbench.experiment.run import FinishedRun, run_experiment
from clsbench.schema.options import RunOptions

SMALL = {
    "dataset": "synthetic-sms:texts=200",
    "backbone": "gpt2-nano",
    "baselines": ["majority"],
    "data.padding": 24,
    "data.balance": False,
    "train.epochs": 2,
    "train.eval_every": 10,
}


def run_small(
    out: Path,
    observers: Sequence[object] = (),
    dry_run: bool = False,
    given: Mapping[str, Any] = MappingProxyType({}),
    plugins: Sequence[str] = (),
    device: str = "cpu",
    **changes: Any,
) -> FinishedRun:
    catalog = load_catalog(plugins)
    changed = {key.replace("__", "."): value for key, value in changes.items()}
    spec = resolve(find_spec("gpt2-sms-spam", catalog), SMALL | changed, catalog)
    options = RunOptions(
        out=out, device=device, threads=1, offline=True, **{"curves": False, **given}
    )
    return run_experiment(spec, options, catalog, observers, dry_run)


def stored(run: FinishedRun) -> Path:
    assert run.path is not None
    return run.path


def assert_predicts_what_is_stored(
    predictor: Predictor, run: FinishedRun, tolerance: float = 1e-6
) -> None:
    catalog = load_catalog()
    corpus = resolve(find_spec("gpt2-sms-spam", catalog), SMALL, catalog).dataset.load({})
    with (stored(run) / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    found = predictor.predict([corpus.texts[int(row["row"])] for row in rows])
    expected = [[float(row["probability_ham"]), float(row["probability_spam"])] for row in rows]
    assert predictor.class_names == ("ham", "spam")
    assert found == pytest.approx(np.array(expected), abs=tolerance)
