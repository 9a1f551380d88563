"""Runs and predictions with the adapter ``peft``."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    *("--offline", "--dataset", "synthetic-sms:texts=200", "--backbone", "gpt2-nano"),
    *("--set", "data.balance=false", "--set", "data.padding=24", "--set", "train.epochs=1"),
    *("--set", "baselines=[]", "--set", "train.lr=1e-2", "--freezing", "head-only"),
)


def clsbench(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "clsbench", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(folder: Path, adapter: str, *more: str) -> dict[str, Any]:
    output = clsbench(folder, "run", "gpt2-sms-spam", *SMALL, "--adapter", adapter, "--json", *more)
    record: dict[str, Any] = json.loads(output)
    assert record["status"] == "finished"
    return record


def shortcut(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in record["fast_path"]["shortcuts"] if each["name"] == name)


@pytest.mark.parametrize("adapter", ["peft:r=2", "peft:type=vera,r=8"])
def test_predict_repeats_the_predictions_of_the_run(tmp_path: Path, adapter: str) -> None:
    record = run(tmp_path, adapter)
    assert [each["libraries"].keys() for each in record["plugins"] if each["axis"] == "adapter"]
    directory = Path(record["path"])
    with (tmp_path / directory / "predictions.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    texts = texts_of(tmp_path, [int(row["row"]) for row in rows])
    found = json.loads(clsbench(tmp_path, "predict", "latest", *texts, "--json"))["predictions"]
    for row, answer in zip(rows, found, strict=True):
        spam = answer["probabilities"]["spam"]
        assert spam == pytest.approx(float(row["probability_spam"]), abs=1e-5)


def texts_of(folder: Path, rows: list[int]) -> list[str]:
    code = (
        "import json, sys, clsbench; from clsbench.builtin.datasets.synthetic_sms import "
        "SyntheticSms; texts = SyntheticSms(texts=200).load({}).texts; "
        "print(json.dumps([texts[row] for row in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, input=json.dumps(rows), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    texts: list[str] = json.loads(done.stdout)
    return texts


def test_adapter_in_the_last_block_keeps_a_prefix_and_equals_the_plain_path(
    tmp_path: Path,
) -> None:
    fast = run(tmp_path, "peft:r=2,blocks=1", "--out", "fast")
    plain = run(tmp_path, "peft:r=2,blocks=1", "--out", "plain", "--plain")
    prefix = shortcut(fast, "prefix")
    assert prefix["taken"]
    assert "embeddings to block.2" in prefix["detail"]
    assert "not cached across runs" not in prefix["detail"]
    for ours, theirs in zip(fast["history"]["steps"], plain["history"]["steps"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)


def test_adapter_in_every_block_leaves_no_prefix_and_the_plan_names_the_reason(
    tmp_path: Path,
) -> None:
    prefix = shortcut(run(tmp_path, "peft:type=ia3"), "prefix")
    assert not prefix["taken"]
    assert "block.0 is trained, at least in part" in prefix["detail"]


def test_suite_peft_methods_can_be_planned(tmp_path: Path) -> None:
    chosen = ("--offline", "--dry-run", "--json")
    plan = json.loads(clsbench(tmp_path, "suite", "peft-methods", *chosen))
    assert len(plan["rows"]) == 7
