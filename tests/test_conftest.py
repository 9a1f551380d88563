"""Tests on CUDA without a CUDA device: left out, or skipped if they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clsbench.system.environment import no_cuda_device

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = "tests/model/test_packing.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
]


def run_pytest(*arguments: str) -> list[str]:
    """The last lines of its output."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments, FILE]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-3:]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_cuda_tests_without_a_device_are_left_out_with_one_line(processes: str) -> None:
    *_, left_out, summary = run_pytest("-n", processes)
    assert left_out == f"3 tests on cuda left out: {no_cuda_device()}"
    assert summary.startswith("3 passed")


def test_cuda_tests_that_are_asked_for_are_skipped_with_the_reason() -> None:
    *_, reason, summary = run_pytest("-n", "0", "-rs", "-m", "cuda")
    assert reason.startswith("SKIPPED [")
    assert reason.endswith(f": {no_cuda_device()}")
    assert summary.startswith("3 skipped")
