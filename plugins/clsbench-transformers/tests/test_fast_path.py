"""Runs with the fast path's shortcuts have the losses of runs without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clsbench_transformers import HF
from clsbench_transformers.families import FAMILIES
from losses import Losses
from miniatures import ENCODERS, save_model

import clsbench

CASES = [
    *((family, "last-block") for family in sorted(FAMILIES)),
    *((family, "all") for family in ("bert", "modernbert", "deberta-v2", "gpt2", "gemma2")),
    *((family, "lora") for family in ("bert", "llama")),
    ("roberta", "head-only"),
]
IN_FLOAT32 = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "modernbert")
"""Families that compute norms or rotations in float32, whatever the precision of the run.

In float64 their rounding can exceed what the trial allows, so they are compared in float32.
"""


def run(
    folder: Path, pooling: str, method: str, out: Path, precision: str, **options: Any
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
        precision=precision,
        **options,
    )
    return record, losses.values


@pytest.mark.parametrize(("family", "method"), CASES)
def test_run_with_shortcuts_has_the_losses_of_the_plain_path(
    family: str, method: str, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model", family)
    encoder = family in ENCODERS
    single = "first-token" if encoder else "last-real-token"
    pooling = "mean" if encoder and method == "all" else single
    precision, tolerance = ("fp32", 1e-5) if family in IN_FLOAT32 else ("fp64", 1e-9)
    fast, fast_losses = run(folder, pooling, method, tmp_path, precision)
    plain, plain_losses = run(folder, pooling, method, tmp_path, precision, plain=True)
    expected = {"packing"} if pooling == "mean" else {"packing", "position"}
    expected |= {"prefix"} if method in ("head-only", "last-block") else set()
    assert taken(fast) == expected, fast.fast_path.shortcuts
    assert not fast.warnings
    assert "not cached across runs" not in str(fast.fast_path.shortcuts)
    assert fast_losses == pytest.approx(plain_losses, rel=tolerance)
    assert fast.metrics.test.loss == pytest.approx(plain.metrics.test.loss, rel=tolerance)


def taken(record: Any) -> set[str]:
    return {shortcut.name for shortcut in record.fast_path.shortcuts if shortcut.taken}


def test_run_in_bf16_takes_the_shortcuts(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "llama")
    common = (folder, "last-real-token", "last-block", tmp_path, "bf16")
    fast, losses = run(*common)
    _, plain_losses = run(*common, plain=True)
    assert taken(fast) == {"prefix", "position", "packing"}
    assert not fast.warnings
    assert losses == pytest.approx(plain_losses, rel=0.05)


def test_run_of_deberta_names_why_it_does_not_pack(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "deberta-v2")
    record, _ = run(folder, "mean", "last-block", tmp_path, "fp32", dry_run=True)
    details = {each.name: each.detail for each in record.fast_path.shortcuts}
    assert "narrowed to their widest text (this backbone cannot pack them)" in details["packing"]


def test_run_with_dropout_takes_no_shortcut_that_it_would_change(tmp_path: Path) -> None:
    backbone = HF(model=str(save_model(tmp_path / "model", "bert")), dropout=True)
    record = clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms:texts=100",
        backbone=backbone,
        pooling="mean",
        out=tmp_path,
        dry_run=True,
    )
    assert not taken(record)
    details = {each.name: each.detail for each in record.fast_path.shortcuts}
    assert "embeddings uses random numbers" in details["packing"]
