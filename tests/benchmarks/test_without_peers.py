"""The benchmark of the fast path if the book's code is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fast_path.py"
ABSENT = "raise ModuleNotFoundError(\"No module named 'llms_from_scratch'\")\n"


@pytest.mark.slow
def test_fast_path_without_peer_shows_help_and_refuses_to_race(tmp_path: Path) -> None:
    (tmp_path / "llms_from_scratch.py").write_text(ABSENT)
    path = os.pathsep.join([str(tmp_path), str(SCRIPT.parents[1] / "src")])
    asked, raced = (
        subprocess.Popen(
            [sys.executable, str(SCRIPT), argument],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for argument in ("--help", "last-block")
    )
    out, error = asked.communicate(timeout=120)
    assert (asked.returncode, error) == (0, "")
    assert "llms-from-scratch" in out
    _, error = raced.communicate(timeout=120)
    assert raced.returncode == 1
    assert error.startswith("the book's code is not here: pip install --no-deps llms-from-scratch")
