"""The command line as a user meets it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Command


@pytest.fixture
def clsbench(tmp_path: Path) -> Command:
    """Runs ``python -m clsbench`` in an empty folder, without the settings of whoever tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLSBENCH_", "_CLSBENCH_"))}
    environment = {
        **kept,
        "CLSBENCH_CACHE": str(tmp_path / "cache"),
        "HF_HUB_CACHE": str(tmp_path / "hub-cache"),
        "TIKTOKEN_CACHE_DIR": str(tmp_path / "tiktoken-cache"),
        "OMP_NUM_THREADS": "1",
    }
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        text_in: str = "",
        timeout_seconds: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "clsbench", *map(str, arguments)],
            input=text_in,
            capture_output=True,
            encoding="utf-8",
            env={**environment, **(env or {})},
            cwd=folder,
            timeout=timeout_seconds,
        )

    return run
