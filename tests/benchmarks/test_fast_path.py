"""The benchmark of the fast path on a tiny model: what it reports, not how fast it is."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llms_from_scratch", reason="the peer is absent")
pytest.importorskip("transformers")

from command_line import clean_environment, command_in_process

from fast_path import main
from workload import SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
ANY_LOAD = "1000"


def options(assets_dir: Path, folder: Path) -> list[str]:
    return [
        "--size", "tiny", "--threads", "1", "--assets", str(assets_dir),
        "--json", str(folder / "race.json"),
    ]  # fmt: skip


def run(
    arguments: list[str], assets_dir: Path, folder: Path
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the command in this process; return its output and the JSON that it wrote."""
    command = command_in_process(main, clean_environment(folder / "caches"), folder)
    done = command(*arguments, *options(assets_dir, folder))
    written = folder / "race.json"
    return done, json.loads(written.read_text()) if written.exists() else {}


@pytest.fixture(scope="module")
def raced(
    assets_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """A race in a process of its own."""
    folder = tmp_path_factory.mktemp("race")
    path = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / "fast_path.py"), "last-block",
         "all-real-token", "--rounds", "6", "--budget", "60", "--load-limit", ANY_LOAD,
         *options(assets_dir, folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path, "CLSBENCH_CACHE": str(folder / "cache")},
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "race.json").read_text())


def middle_of_ratios(race: dict[str, Any], step: dict[str, Any]) -> float:
    """The median ratio over rounds in which both sides were quiet, computed from the samples."""
    seconds = {(s["contender"], s["round"]): s["seconds"] for s in race["samples"] if s["quiet"]}
    logs = [
        math.log(taken / seconds[step["fast"], number])
        for (contender, number), taken in seconds.items()
        if contender == step["slow"] and (step["fast"], number) in seconds
    ]
    return math.exp(statistics.median(logs))


@pytest.mark.slow
def test_fast_path_report_is_consistent_with_its_samples(
    raced: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done, report = raced
    assert report["size"] == "tiny"
    assert report["threads"] == 1
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["versions"]["torch"]
    assert report["limits"]["flops_per_second"] > 0
    assert report["limits"]["bytes_per_second"] > 0
    first, second = report["results"]
    assert (first["setting"], second["setting"]) == ("last-block", "all-real-token")
    for result in (first, second):
        assert result["setting"] in done.stdout
        ours, book = result["equality"]["ours"], result["equality"]["book"]
        assert ours == pytest.approx(book, abs=1e-5)
        assert len(set(ours)) > 1  # it trains
        assert result["equality"]["our_trainable"] == result["equality"]["book_trainable"]
        step = result["step"]
        assert step["pairs"] >= 6
        assert step["ratio"] == pytest.approx(middle_of_ratios(result["race"], step))
        assert step["low"] <= step["ratio"] <= step["high"]
        samples = result["race"]["samples"]
        assert {"clsbench", "book"} <= {sample["contender"] for sample in samples}
        assert all(sample["seconds"] > 0 <= sample["foreign_cores"] for sample in samples)
        bound = result["bound"]
        assert bound["seconds"] == max(bound["compute_seconds"], bound["memory_seconds"]) > 0
        assert result["ours_over_bound"] == pytest.approx(step["fast_seconds"] / bound["seconds"])
        assert result["peak_memory_bytes"] > 10**8
        assert result["whole"]["cold"]["ratio"] > 0
    # The prefix can be cached only if layers are frozen.
    assert set(first["shortcuts"]) == {"prefix", "position"}
    assert set(second["shortcuts"]) == {"position", "packing"}
    assert first["whole"]["kept"]["ratio"] > 0
    assert second["whole"]["kept"] is None
    assert first["hugging_face"]["ratio"] > 0
    assert second["hugging_face"] is None
    assert first["fast_book"]["ratio"] > 0 < second["fast_book"]["ratio"]
    # Training the last block takes less work than training everything.
    assert first["needs"]["flops"] < second["needs"]["flops"] / 2


@pytest.mark.slow
def test_fast_path_whole_run_counts_the_same_work_as_the_book(
    raced: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    whole = raced[1]["results"][0]["whole"]
    times = {(part["side"], part["name"]): part["times"] for part in whole["cold_parts"]}
    assert times[("book", "training steps")] == times[("clsbench", "training steps")] == 650
    # 13 evaluations of 10 batches, 5 epochs of 10, the final accuracies of 130 + 19 + 38.
    assert times[("book", "evaluation and scoring batches")] == 130 + 50 + 187
    assert times[("clsbench", "evaluations")] == 18
    prefix = next(count for (_, name), count in times.items() if name.startswith("prefix"))
    assert prefix == pytest.approx(1388 / 16)  # the distinct rows, 16 of them measured
    for side, name in (("book", "slow_seconds"), ("clsbench", "fast_seconds")):
        total = sum(p["times"] * p["seconds"] for p in whole["cold_parts"] if p["side"] == side)
        assert whole["cold"][name] == pytest.approx(total)


@pytest.mark.slow
def test_fast_path_unequal_losses_fail_without_timing(assets_dir: Path, tmp_path: Path) -> None:
    done, report = run(["head-only", "--break-equality"], assets_dir, tmp_path)
    assert done.returncode == 1
    (result,) = report["results"]
    assert result["verdict"].startswith("failed: losses differ in float64, by")
    assert result["race"] is None
    assert result["step"] is None
    assert "failed: losses" in done.stdout


@pytest.mark.slow
def test_fast_path_constant_load_is_not_measured(assets_dir: Path, tmp_path: Path) -> None:
    # Every load is above -1, so every sample is dropped.
    arguments = ["last-block", "--rounds", "5", "--budget", "1", "--load-limit", "-1"]
    done, report = run(arguments, assets_dir, tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = report["results"]
    race = result["race"]
    assert result["verdict"] == "not measured"
    assert race["dropped"] == len(race["samples"]) > 0
    assert race["quiet_rounds"] == 0
    assert result["step"]["ratio"] is None
    assert result["whole"]["cold"]["ratio"] is None
    assert "not measured" in done.stdout


@pytest.mark.slow
def test_fast_path_unknown_setting_is_refused_and_help_lists_settings(
    assets_dir: Path, tmp_path: Path
) -> None:
    done, report = run(["last-blok"], assets_dir, tmp_path)
    assert done.returncode == 2
    assert not report
    done, _ = run(["--help"], assets_dir, tmp_path)
    assert done.returncode == 0
    for word in ("last-block", "--load-limit", "quiet machine", "llms-from-scratch"):
        assert word in done.stdout


@pytest.mark.slow
def test_fast_path_whole_run_losses_equal_the_books(
    assets_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the five epochs, without baselines."""
    row_1 = SETTINGS["last-block"]
    changes = {**row_1.changes, "train.epochs": 2, "baselines": []}
    monkeypatch.setitem(SETTINGS, "last-block", row_1._replace(changes=changes))
    done, report = run(["--whole"], assets_dir, tmp_path)
    assert done.returncode == 0, done.stderr
    assert report["results"] == []
    whole = report["whole_run"]
    assert whole["difference_within_50_steps"] < 1e-5
    assert len(whole["our_losses"]) == len(whole["book_losses"]) == 12
    assert whole["our_losses"] == pytest.approx(whole["book_losses"], rel=1e-3)
    assert whole["our_accuracy"]["test"] == pytest.approx(whole["book_accuracy"]["test"], abs=0.02)
    assert min(whole[f"{name}_seconds"] for name in ("book", "cold", "kept")) > 0
    assert set(whole["cold_phases_seconds"]) >= {"prefix", "training", "evaluation"}
