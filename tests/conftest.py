"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The time of an example depends on the machine's load, so it must not fail a test.
settings.register_profile("clsbench", deadline=None)
settings.load_profile("clsbench")

# Tests compute little at a time, so one thread is faster than several, also in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job that a script starts in the background ignores Ctrl-C, and so do its child processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that compute with all cores as ``alone``."""
    for item in items:
        if "all_cores" in getattr(item, "fixturenames", ()):
            item.add_marker("alone")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests; the user's cache is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def all_cores() -> Iterator[None]:
    """One thread per core, for a test that computes much."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """The folder with the real SMS corpus and GPT-2's vocabulary."""
    folder = Path(os.environ.get("CLSBENCH_ASSETS", REPOSITORY.parent / "shared" / "assets"))
    if not (folder / "sms-spam" / "SMSSpamCollection").is_file():
        pytest.skip(f"no real corpus in {folder}; set CLSBENCH_ASSETS to an assets folder")
    return folder
