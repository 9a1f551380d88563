"""Runs and predictions with the adapter ``peft``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clsbench.builtin.datasets.synthetic_sms import SyntheticSms
from clsbench.cli.main import main

SMALL = (
    *("--offline", "--threads", "1", "--backbone", "gpt2-nano"),
    *("--dataset", "synthetic-sms:texts=100"),
    *("--set", "data.balance=false", "--set", "data.padding=24", "--set", "train.epochs=1"),
    *("--set", "baselines=[]", "--set", "train.lr=1e-2", "--freezing", "head-only"),
)


Command = Callable[..., str]


@pytest.fixture
def clsbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs the command line in this process, in an empty folder, and returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLSBENCH_CURVES", "false")  # half of the time of a small run

    def call(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        output, errors = capsys.readouterr()
        assert not ended.value.code, errors
        return output

    return call


def run(clsbench: Command, adapter: str, *more: str) -> dict[str, Any]:
    output = clsbench("run", "gpt2-sms-spam", *SMALL, "--adapter", adapter, "--json", *more)
    record: dict[str, Any] = json.loads(output)
    assert record["status"] == ("planned" if "--dry-run" in more else "finished")
    return record


def shortcut(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in record["fast_path"]["shortcuts"] if each["name"] == name)


@pytest.mark.parametrize("adapter", ["peft:r=2", "peft:type=vera,r=8"])
def test_predict_repeats_the_predictions_of_the_run(clsbench: Command, adapter: str) -> None:
    record = run(clsbench, adapter)
    assert [each["libraries"].keys() for each in record["plugins"] if each["axis"] == "adapter"]
    with Path(record["path"], "predictions.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    corpus = SyntheticSms(texts=100).load({}).texts
    texts = [corpus[int(row["row"])] for row in rows]
    found = json.loads(clsbench("predict", "latest", *texts, "--json"))["predictions"]
    for row, answer in zip(rows, found, strict=True):
        spam = answer["probabilities"]["spam"]
        assert spam == pytest.approx(float(row["probability_spam"]), abs=1e-5)


def test_adapter_in_the_last_block_keeps_a_prefix_and_equals_the_plain_path(
    clsbench: Command,
) -> None:
    fast = run(clsbench, "peft:r=2,blocks=1", "--out", "fast")
    plain = run(clsbench, "peft:r=2,blocks=1", "--out", "plain", "--plain")
    prefix = shortcut(fast, "prefix")
    assert prefix["taken"]
    assert "embeddings to block.2" in prefix["detail"]
    assert "not cached across runs" not in prefix["detail"]
    for ours, theirs in zip(fast["history"]["steps"], plain["history"]["steps"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)


def test_adapter_in_every_block_leaves_no_prefix_and_the_plan_names_the_reason(
    clsbench: Command,
) -> None:
    prefix = shortcut(run(clsbench, "peft:type=ia3", "--dry-run"), "prefix")
    assert not prefix["taken"]
    assert "block.0 is trained, at least in part" in prefix["detail"]


def test_suite_peft_methods_can_be_planned(clsbench: Command) -> None:
    plan = json.loads(clsbench("suite", "peft-methods", "--offline", "--dry-run", "--json"))
    assert len(plan["rows"]) == 7
