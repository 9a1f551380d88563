"""Rows in a disk cache."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import activation_rows
import pytest
from activation_rows import (
    KEY,
    PLENTY,
)
from torch import Tensor

from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey


def load(directory: Path, rows: dict[str, Tensor], key: PrefixKey = KEY) -> dict[str, Tensor]:
    """Load the rows as a later run would."""
    return DiskCache(directory, PLENTY).load(key, list(rows))


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


WITH_HELPERS = {**os.environ, "PYTHONPATH": str(Path(activation_rows.__file__).parent)}


def start(script: str, *arguments: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=WITH_HELPERS,
    )
