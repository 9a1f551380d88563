"""``benchmarks/pretrained.py`` on miniature models: both sides compute the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from miniatures import save_model

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
Race = Callable[..., str]


@pytest.fixture
def race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Race:
    """Runs the script in this process with one short round, and returns its output."""
    assets = os.environ.get("CLSBENCH_ASSETS")
    if not assets or not (Path(assets) / "sms-spam").is_dir():
        pytest.skip("needs the SMS corpus: set CLSBENCH_ASSETS")
    # The script changes these two variables.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(BENCHMARKS)
    from pretrained import main

    def call(*arguments: object) -> str:
        short = ("--threads", "1", "--rounds", "1", "--budget", "0", "--load-limit", "64")
        main.main([*map(str, arguments), *short], standalone_mode=False)
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize(
    ("family", "pooling", "whole"), [("bert", "mean", 1), ("llama", "last-real-token", 0)]
)
def test_race_sides_have_equal_losses_and_are_timed(
    family: str, pooling: str, whole: int, race: Race, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", family, max_position_embeddings=1024)
    results = tmp_path / "results.json"
    chosen = ("--pooling", pooling, "--whole", whole, "--epochs", 1, "--json", results)
    output = race(model, *chosen)
    found = json.loads(results.read_text())
    assert found["our_losses"] == pytest.approx(found["their_losses"], abs=1e-5)
    assert found["whole_seconds"].keys() == ({"clsbench", "transformers"} if whole else set())
    assert "losses of 4 steps: largest difference" in output


ROWS = """
base = "gpt2-sms-spam"
changes = { "train.epochs" = 1 }
rows = [
    { title = "last block" },
    { title = "first token", changes = { pooling = "first-token", freezing = "all" } },
    { title = "LoRA", changes = { freezing = "head-only", adapter = "lora:r=2" } },
    { title = "mean", changes = { pooling = "mean:include_padding=true" } },
    { title = "no padding", changes = { "data.padding" = "none", "train.batch_size" = 1 } },
]
"""


def test_race_of_a_suite_has_a_row_for_each_way_of_training(race: Race, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "llama", max_position_embeddings=1024)
    (tmp_path / "rows.toml").write_text(ROWS)
    results = tmp_path / "results.json"
    table = tmp_path / "table.md"
    files = ("--json", results, "--markdown", table)
    output = race(model, "--suite", tmp_path / "rows.toml", *files)
    rows = json.loads(results.read_text())["rows"]
    assert [row["verdict"] for row in rows] == [""] * 5
    assert all(row["difference"] < 1e-5 for row in rows)
    assert all(row["plain"]["pairs"] == row["theirs"]["pairs"] == 1 for row in rows)
    assert table.read_text() == output
    assert len(output.splitlines()) == 7
