"""Settings and fixtures of all tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Small models are faster with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of clsbench for these tests only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSBENCH_CURVES", "false")  # half of the time of a small run
        patch.setenv("CLSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
