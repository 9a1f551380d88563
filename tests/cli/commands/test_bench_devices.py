"""``clsbench bench`` on a device that is full, fails, or is not there.

The device layer is simulated by the plugin ``failing_devices``; the large allocation is real.
"""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import failing_devices
import pytest
from command_line import Command

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(in_process: Command, spec_file: Path) -> Bench:
    """Runs ``clsbench bench`` with a head that fails in training, so not in the forward pass."""

    def run(failure: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return in_process(
            "--plugin", failing_devices.__name__, "bench", spec_file, "--head",
            f"fails-in-training:failure={failure}", "--budget", "0", "--load-limit", "1e9",
            "--threads", "1", *arguments, env={"COLUMNS": "140"},
        )  # fmt: skip

    return run


def measured(report: Any) -> list[str]:
    return [each["phase"] for each in report["points"][0]["measurements"]]


@pytest.mark.slow
def test_bench_phase_out_of_memory_states_the_peak_and_what_to_try(bench: Bench) -> None:
    chosen = ("--phase", "forward", "--phase", "forward+backward", "--phase", "evaluation")
    done = bench("large_allocation", *chosen, "--json")
    assert done.returncode == 4, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "finished"
    assert measured(report) == ["forward", "evaluation"]
    (failed,) = report["points"][0]["failed"]
    start, _, rest = failed["reason"].partition(" (peak ")
    assert (failed["phase"], start) == ("forward+backward", "out of memory on cpu")
    assert "B): " in rest
    assert "you tried to allocate 4000000000000000 bytes" in rest
    assert rest.endswith(
        ". Try --precision bf16 or smaller batches with accumulation (--set train.batch_size=4 "
        "--set train.accumulation=2)"
    )
    assert f"forward+backward failed: {failed['reason']}" in done.stderr


@pytest.mark.slow
def test_bench_device_lost_keeps_the_phases_measured_so_far(bench: Bench, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    chosen = ("--phase", "tokenize", "--phase", "forward", "--phase", "train step")
    done = bench("lost_device", *chosen, "--json", "--quiet", "--output", table)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the device cpu (")
    assert ") failed in the phase 'train step': CUDA error: unspecified launch failure. Ch" in line
    assert line.endswith("; showing the results so far")
    report = json.loads(done.stdout)
    assert report["status"] == "failed"
    assert line == f"error: {report['error']}; showing the results so far"
    assert measured(report) == ["tokenize", "forward"]
    assert [row["phase"] for row in csv.DictReader(table.open())] == ["tokenize", "forward"]


@pytest.mark.slow
def test_bench_device_lost_in_a_sweep_keeps_the_values_before(bench: Bench) -> None:
    """The second value has no phase of its own."""
    done = bench(
        "lost_device", "--phase", "forward", "--phase", "train step", "--sweep", "batch=4,8"
    )
    assert done.returncode == 1, done.stderr
    assert "forward  4 " in done.stdout
    assert "forward  8 " not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_bench_device_lost_before_any_measurement_is_one_error(bench: Bench) -> None:
    done = bench("lost_device", "--phase", "train step", "--quiet")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the device cpu (")


@pytest.mark.slow
def test_bench_compare_device_lost_keeps_the_phases_compared_so_far(bench: Bench) -> None:
    chosen = ("--phase", "tokenize", "--phase", "train step", "--compare", "tokens=8", "tokens=9")
    done = bench("lost_device", *chosen, "--json", "--quiet")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "failed"
    assert [phase["phase"] for phase in report["phases"]] == ["tokenize"]
    assert done.stderr == f"error: {report['error']}; showing the results so far\n"


def test_bench_on_a_missing_device_is_refused_in_one_line(
    in_process: Command, spec_file: Path
) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    done = in_process("bench", spec_file, "--sweep", "device=cpu,cuda:7", env=hidden)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: device cuda:7: torch ")
    assert line.endswith(", or use --device cpu")
