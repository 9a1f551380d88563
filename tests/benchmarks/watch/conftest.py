"""``python -m benchmarks.watch``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from benchmarks.watch.__main__ import watch as watch_group
from command_line import Command, clean_environment, command_in_process

from clsbench.cli.main import main


@pytest.fixture
def watch(tmp_path: Path) -> Command:
    """Runs ``python -m benchmarks.watch`` in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    start = partial(main, group=watch_group, prog_name="python -m benchmarks.watch")
    return command_in_process(start, clean_environment(tmp_path / "caches"), folder)
