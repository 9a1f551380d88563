"""``python -m benchmarks.watch`` in a subprocess, as a developer runs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Command, clean_environment, command

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def watch(tmp_path: Path) -> Command:
    """Runs ``python -m benchmarks.watch`` in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**clean_environment(tmp_path / "caches"), "PYTHONPATH": path}
    return command("benchmarks.watch", environment, folder)
