"""Settings and fixtures of all tests here."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator

import pytest
import ray_cluster
from ray_cluster import TwoNodes

# Small runs are faster with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Only these tests and their subprocesses may join the clusters that they start.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))

# A job that a script starts in the background ignores Ctrl-C, and so do its child processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of clsbench for these tests only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSBENCH_CURVES", "false")  # half of the time of a small run
        patch.setenv("CLSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    """Two nodes on this machine."""
    with ray_cluster.two_nodes() as nodes:
        yield nodes
