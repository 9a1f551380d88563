"""Runs with the fast path's shortcuts have the losses of runs without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clsbench_transformers import HF
from clsbench_transformers.families import FAMILIES
from miniatures import ENCODERS, save_model

import clsbench

METHODS = ("head-only", "last-block", "lora", "all")
IN_FLOAT32 = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "modernbert")
"""Families that compute norms or rotations in float32, whatever the precision of the run."""


class Losses:
    """Records the loss of every batch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    @clsbench.hookimpl
    def clsbench_step_finished(self, report: Any) -> None:
        self.values.append(report.loss())


def run(
    folder: Path, pooling: str, method: str, out: Path, **options: Any
) -> tuple[Any, list[float]]:
    losses = Losses()
    record = clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms:texts=100",
        backbone=HF(model=str(folder)),
        pooling=pooling,
        method=method,
        settings={
            "baselines": [],
            "data.padding": 40,
            "data.balance": False,
            "data.split.name": "stratified",
            "train.epochs": 2,
            "train.lr": 1e-3,
            "train.eval_every": 10,
        },
        observers=[losses],
        out=out,
        device="cpu",
        threads=1,
        precision="fp64",
        **options,
    )
    return record, losses.values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_run_with_shortcuts_has_the_losses_of_the_plain_path(
    family: str, method: str, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model", family)
    pooling = "last-real-token"
    if family in ENCODERS:
        pooling = "mean" if METHODS.index(method) % 2 else "first-token"
    fast, fast_losses = run(folder, pooling, method, tmp_path)
    plain, plain_losses = run(folder, pooling, method, tmp_path, plain=True)
    taken = {shortcut.name for shortcut in fast.fast_path.shortcuts if shortcut.taken}
    expected = {"packing"} if pooling == "mean" else {"packing", "position"}
    expected |= {"prefix"} if method in ("head-only", "last-block") else set()
    assert taken == expected, fast.fast_path.shortcuts
    assert not fast.warnings
    assert "not cached across runs" not in str(fast.fast_path.shortcuts)
    tolerance = 1e-6 if family in IN_FLOAT32 else 1e-9
    assert fast_losses == pytest.approx(plain_losses, rel=tolerance)
    assert fast.metrics.test.loss == pytest.approx(plain.metrics.test.loss, rel=tolerance)
