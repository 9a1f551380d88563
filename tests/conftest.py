"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import torch

# The time of an example depends on the machine's load, so it must not fail a test.
settings.register_profile("clsbench", deadline=None, max_examples=50)
settings.load_profile("clsbench")

# Tests compute little at a time, so one thread is faster than several, also in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process reads it with its first matrix product on CUDA; deterministic runs need it then.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# A job that a script starts in the background ignores Ctrl-C, and so do its child processes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


_LEFT_OUT = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that compute with all cores as ``alone``; leave out ``cuda`` without a device.

    With ``-m cuda`` they are skipped instead, each with the reason.
    """
    for item in items:
        if "all_cores" in getattr(item, "fixturenames", ()):
            item.add_marker("alone")
    on_cuda = [item for item in items if item.get_closest_marker("cuda")]
    reason = _no_cuda() if on_cuda else None
    if reason is None:
        return
    if re.search(r"\bcuda\b", config.option.markexpr):
        for item in on_cuda:
            item.add_marker(pytest.mark.skip(reason=reason))
        return
    items[:] = [item for item in items if not item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=on_cuda)
    config.stash[_LEFT_OUT] = f"{len(on_cuda)} tests on cuda left out: {reason}"
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist
        config.workeroutput["left_out"] = config.stash[_LEFT_OUT]


def _no_cuda() -> str | None:
    import torch

    from clsbench.system.environment import no_cuda_device

    return None if torch.cuda.is_available() else no_cuda_device()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of pytest-xdist has left out; all collect the same tests."""
    if "left_out" in getattr(node, "workeroutput", {}):
        node.config.stash[_LEFT_OUT] = node.workeroutput["left_out"]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """State once why tests on ``cuda`` were left out."""
    if _LEFT_OUT in config.stash:
        terminalreporter.write_line(config.stash[_LEFT_OUT])


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Each device that a test runs on, with TF32 off: some containers switch it on.

    The scope is not ``function`` because of hypothesis, which runs a test many times.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield torch.device(request.param)
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for the tests; the user's cache is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSBENCH_CURVES", "false")  # half of the time of a small run
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
