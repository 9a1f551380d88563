"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Tests compute little at a time: one thread each, in subprocesses too, is faster than several.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job that a script starts in the background ignores Ctrl-C, and hands that on to its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """The folder with the real SMS corpus and GPT-2's vocabulary."""
    folder = Path(os.environ.get("CLSBENCH_ASSETS", REPOSITORY.parent / "shared" / "assets"))
    if not (folder / "sms-spam" / "SMSSpamCollection").is_file():
        pytest.skip(f"no real corpus in {folder}; set CLSBENCH_ASSETS to an assets folder")
    return folder
