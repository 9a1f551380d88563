"""The benchmarks of two checkouts in turn, each run in a process of its own.

A machine that others use drifts: what was fast yesterday is slow today, whatever changed. Runs side
by side see the same hour.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clsbench.errors import ClsbenchError, UsageError
from clsbench.measure.history import BenchmarkRun, read_history

Tell = Callable[[int, int], None]
"""Told how many pairs are done, and of how many."""


def runs_in_pairs(
    repository: Path, revision: str, pairs: int, arguments: Sequence[str], tell: Tell
) -> list[tuple[BenchmarkRun, BenchmarkRun]]:
    """Runs of the sources at ``revision`` and of those in ``repository``, in alternating order.

    Both are timed by the benchmarks of ``repository``; ``arguments`` are pytest's. The old sources
    lie in a worktree that is removed afterwards.

    Raises:
        UsageError: ``repository`` is no checkout with benchmarks, or has no such revision.
        ClsbenchError: the benchmarks fail.
    """
    if not (repository / "benchmarks" / "pytest.ini").is_file():
        raise UsageError(f"{repository} is no checkout with benchmarks/: --against needs one")
    found = []
    with _worktree(repository, revision) as old, tempfile.TemporaryDirectory() as storage:
        for number in range(pairs):
            tell(number, pairs)
            sources = {"old": old / "src", "new": repository / "src"}
            order = ("old", "new") if number % 2 == 0 else ("new", "old")
            runs = {}
            for which in order:
                folder = Path(storage, f"{number}-{which}")
                runs[which] = _run(repository, sources[which], folder, arguments)
            found.append((runs["old"], runs["new"]))
        tell(pairs, pairs)
    return found


def _run(repository: Path, sources: Path, storage: Path, arguments: Sequence[str]) -> BenchmarkRun:
    command = [
        sys.executable, "-m", "pytest", str(repository / "benchmarks"), "-q",
        f"--benchmark-storage=file://{storage}", *arguments,
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(sources), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise ClsbenchError(f"the benchmarks of {sources} fail:\n{told}")
    history = read_history(storage)
    if not history.runs:
        raise ClsbenchError(f"the benchmarks of {sources} stored no run: {history.problems}")
    return history.runs[-1]


@contextmanager
def _worktree(repository: Path, revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="clsbench-against-") as folder:
        place = Path(folder, "old")
        _git(repository, "worktree", "add", "--detach", str(place), revision)
        try:
            yield place
        finally:
            _git(repository, "worktree", "remove", "--force", str(place))


def _git(repository: Path, *arguments: str) -> None:
    try:
        subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        raise UsageError("git is not installed: --against needs it") from None
    except subprocess.CalledProcessError as error:
        told = error.stderr.strip().splitlines()[-1:] or ["it failed"]
        raise UsageError(f"git {' '.join(arguments[:2])}: {told[0]}") from None
