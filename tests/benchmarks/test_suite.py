"""``pytest benchmarks/``: what it times and stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.watch.history import read_history

from clsbench.components.catalog import load_catalog

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG = load_catalog()


def environment() -> dict[str, str]:
    """The environment of a shell: in a worker of pytest-xdist, nothing would be timed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    return {**kept, "PYTHONPATH": path}


REQUIRING = '''
import clsbench


class Required(clsbench.FreezingStrategy):
    """Trains the given parameters."""

    stages: int

    def trainable(self, parameters):
        return [p.name for p in parameters]


class Whole(clsbench.FreezingStrategy):
    """Trains everything."""

    def trainable(self, parameters):
        return [p.name for p in parameters]


@clsbench.hookimpl
def clsbench_register_freezing_strategies():
    return {"requiring": Required, "whole": Whole}
'''


def run(
    place: str, cwd: Path, storage: Path, plugin: Path
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Time a few benchmarks in a subprocess; return its output and the stored results."""
    plugin.write_text(REQUIRING)
    chosen = "cpu and (forward-head-only or step-head-only or forward-requiring or forward-whole)"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", place, "-q", "-rs", "-k", chosen,
         f"--benchmark-storage=file://{storage}", "--threads", "1", "--seconds", "0.1",
         "--load-limit", "1000"],
        capture_output=True, text=True, cwd=cwd,
        env={**environment(), "CLSBENCH_PLUGINS": str(plugin)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (file,) = storage.rglob("*.json")
    return done, json.loads(file.read_text())


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """The output of a run in the repository, its stored results, and their folder."""
    folder = tmp_path_factory.mktemp("timed")
    storage = folder / "history"
    done, stored = run("benchmarks/", REPOSITORY, storage, folder / "requiring.py")
    return done.stdout, stored, storage


@pytest.mark.slow
def test_benchmark_suite_stores_every_round_with_its_conditions(
    timed: tuple[str, dict[str, Any], Path],
) -> None:
    _, stored, storage = timed
    for benchmark in stored["benchmarks"]:
        info = benchmark["extra_info"]
        rounds = benchmark["stats"]["rounds"]
        assert len(benchmark["stats"]["data"]) == len(info["foreign_cores"]) == rounds >= 6
        assert sorted(info["started_seconds"]) == info["started_seconds"]
        assert len(info["started_seconds"]) == len(info["reference_seconds"]) == rounds
        assert min(info["reference_seconds"]) > 0
        assert info["device"] == "cpu"
        assert info["dropped"] == 0
        assert 0 < info["real_tokens"] < info["padded_tokens"] == 8 * 64
        per_call = sorted(benchmark["stats"]["data"])
        assert per_call[0] <= info["quiet_median_seconds"] <= per_call[-1]
        assert info["flops"] > 0
        assert info["memory"]["allocated"] > 0
    machine = stored["machine_info"]["clsbench"]
    assert machine["threads"] == 1
    assert machine["torch"]
    (kept,) = read_history(storage).runs
    assert all(result.seconds and result.of_reference for result in kept.results.values())
    assert all(len(result.rounds) >= 6 for result in kept.results.values())


@pytest.mark.slow
def test_benchmark_suite_skips_plugins_with_required_options(
    timed: tuple[str, dict[str, Any], Path],
) -> None:
    output, stored, _ = timed
    assert "requiring has no default for stages" in output
    names = {each["name"] for each in stored["benchmarks"]}
    assert "test_freezing[cpu-forward-whole]" in names
    assert not any("requiring" in name for name in names)


@pytest.mark.slow
def test_benchmark_suite_records_the_commit_of_the_timed_sources(
    timed: tuple[str, dict[str, Any], Path], tmp_path: Path
) -> None:
    """Not of the current directory's repository."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = ["git", "-C", str(elsewhere), "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "foreign"]):
        subprocess.run([*here, *command], check=True)
    expected = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    place = str(REPOSITORY / "benchmarks")
    _, stored = run(place, elsewhere, tmp_path / "history", tmp_path / "requiring.py")
    for each in (timed[1], stored):
        assert each["commit_info"]["id"] == expected
    selections = [each["machine_info"]["selection"] for each in (timed[1], stored)]
    assert selections[0] == selections[1], "both runs select the same benchmarks"


@pytest.mark.slow
def test_benchmark_suite_collects_every_registered_component() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/", "--collect-only", "-q"],
        capture_output=True, text=True, cwd=REPOSITORY, env=environment(),
    )  # fmt: skip
    assert listed.returncode == 0, listed.stdout + listed.stderr
    for axis in ("freezing_strategies", "poolings"):
        test = "test_freezing" if axis == "freezing_strategies" else "test_phases.py::test_pooling"
        for name in CATALOG.entries[axis]:
            for phase in ("forward", "forward+backward", "train step"):
                for device in ("cpu", "cuda"):
                    lines = [line for line in listed.stdout.splitlines() if test in line]
                    assert any(
                        f"{phase}-" in line and name in line and device in line for line in lines
                    ), (axis, name, phase, device)
