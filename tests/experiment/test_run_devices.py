"""Runs on each device: from settings to stored results that load elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import assert_predicts_what_is_stored, run_small, stored

from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.run import FinishedRun
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord

FEW = {
    "dataset": "synthetic-sms:texts=100",
    "data__split": "stratified",
    "train__epochs": 1,
    "train__eval_every": 5,
}


def run_few(out: Path, device: torch.device, freezing: str, **given: Any) -> RunRecord:
    run = run_small(out, device=str(device), freezing=freezing, given=given, **FEW)
    assert run.record.status == "finished", run.record.error
    assert run.record.environment.device == str(device)
    assert run.record.peak_memory_bytes
    return run.record


def losses(record: RunRecord) -> list[float]:
    assert record.history is not None
    steps = record.history.steps
    return [loss for entry in steps for loss in (entry.train_loss, entry.validation_loss)]


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_run_other_precisions_finish(tmp_path: Path, precision: str, device: torch.device) -> None:
    record = run_few(tmp_path, device, "last-blocks", precision=precision)
    assert record.environment.precision == precision


@pytest.mark.parametrize("freezing", ["last-blocks", pytest.param("all", marks=pytest.mark.slow)])
def test_run_deterministic_repeats_are_identical(
    tmp_path: Path, freezing: str, device: torch.device
) -> None:
    once, again = (
        run_few(tmp_path, device, freezing, deterministic=True, cache_disk="0") for _ in range(2)
    )
    assert once.metrics == again.metrics
    assert losses(once) == losses(again)


@pytest.mark.cuda
def test_run_on_cuda_agrees_with_the_cpu_and_loads_there(
    finished: FinishedRun, tmp_path: Path
) -> None:
    """In float32; two epochs magnify the rounding, but not to a hundredth."""
    run = run_small(tmp_path, device="cuda")
    assert run.record.fingerprint == finished.record.fingerprint
    assert run.record.run_key != finished.record.run_key
    assert losses(run.record) == pytest.approx(losses(finished.record), rel=1e-2)
    options = RunOptions(offline=True, device="cpu")
    predictor = load_predictor(stored(run), options, load_catalog())
    assert_predicts_what_is_stored(predictor, run, tolerance=1e-4)
