"""The benchmarks of two checkouts side by side, each run in a process of its own.

A machine that others use drifts: what was fast a minute ago is slow now, whatever changed. So the
two processes of a pair take turns, round by round.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from benchmarks.watch.history import BenchmarkRun, Result, read_history
from benchmarks.watch.turns import SOME_FAILED, Turns

from clsbench.errors import NotMeasuredError, UsageError
from clsbench.system.unfinished import temporary_folder

logger = logging.getLogger(__name__)

_NOTHING_SELECTED = 5
"""Pytest's exit code."""

_FAILED = re.compile(r"(FAILED|ERROR) .*?(?P<name>\w+\.py::.+?)( - (?P<why>.*))?$")
"""A line of pytest's summary."""

_NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "baseline")

Pair = tuple[BenchmarkRun, BenchmarkRun]
"""A run of the old sources, and one of the new."""


def runs_in_pairs(
    repository: Path, revision: str, arguments: Sequence[str], more: Callable[[list[Pair]], bool]
) -> list[Pair]:
    """Runs of the sources at ``revision`` and of those in ``repository``, as long as ``more`` of
    them are wanted.

    Both are timed by the benchmarks of ``repository``; ``arguments`` are pytest's. What these
    import, the making of the phases among it, comes from the sources of either side. All lie in a
    temporary folder meanwhile, of which git knows nothing, as they are at the beginning.

    Raises:
        UsageError: ``repository`` is not a checkout with benchmarks, or lacks the revision; no
            benchmark is selected.
        NotMeasuredError: the benchmarks cannot be run, or all fail.
        OSError: the disk is too full for a copy of the sources.
    """
    if not (repository / "benchmarks" / "pytest.ini").is_file():
        raise UsageError(
            f"{repository} is not a checkout with benchmarks/, which --against requires"
        )
    commit = commit_of(repository, revision)
    found: list[Pair] = []
    with temporary_folder(Path(tempfile.gettempdir()), "clsbench-against-") as folder:
        old, new = folder / "old", folder / "new"
        _unpack(repository, commit, old)
        for name in ("src", "benchmarks"):
            shutil.copytree(repository / name, new / name, ignore=_NOT_SOURCES)
        sides = [
            Side(revision, old / "src", arguments),
            Side("the working tree", new / "src", arguments),
        ]
        while more(found):
            if len(found) % 2:  # now one begins, now the other
                after, before = runs_in_turn(repository, sides[::-1], new / "benchmarks")
            else:
                before, after = runs_in_turn(repository, sides, new / "benchmarks")
            found.append((before, after))
            _report_failures(found, revision)
    return found


def _report_failures(pairs: Sequence[Pair], revision: str) -> None:
    """Those of the last pair that have not failed before."""
    for name, runs in zip((revision, "the working tree"), zip(*pairs, strict=True), strict=True):
        *earlier, last = (
            {test: r.failed for test, r in run.results.items() if r.failed} for run in runs
        )
        for test, why in last.items():
            if not any(test in each for each in earlier):
                logger.warning("%s of %s failed: %s", test, name, why)


class Side(NamedTuple):
    """Sources, what they are called, and pytest's arguments with which they are timed."""

    name: str
    sources: Path
    arguments: Sequence[str]


def runs_in_turn(
    repository: Path, sides: Sequence[Side], benchmarks: Path | None = None
) -> list[BenchmarkRun]:
    """A run of the benchmarks of ``repository`` (or of the copy ``benchmarks``) for each side, all
    at once, round by round. A benchmark that fails has no time in it.

    Raises:
        UsageError: no benchmark is selected.
        NotMeasuredError: those of a side cannot be run (the others are stopped then), or all fail.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            temporary_folder(Path(tempfile.gettempdir()), "clsbench-turns-")
        )
        turns = stack.enter_context(contextlib.closing(Turns()))
        processes = []
        for number, side in enumerate(sides):
            output = stack.enter_context((folder / f"{number}.txt").open("wb"))
            process = _start(
                repository, benchmarks or repository / "benchmarks", side, folder / str(number),
                turns.address, output,
            )  # fmt: skip
            stack.callback(_end, process)
            processes.append(process)
        turns.attend(processes)
        failures: list[dict[str, str]] = []
        for number, (side, process) in enumerate(zip(sides, processes, strict=True)):
            code = process.poll()  # None: it was stopped by turns, since another one failed
            if code == _NOTHING_SELECTED:
                raise UsageError(
                    f"no benchmark of {side.name} is selected by {' '.join(side.arguments)!r}"
                )
            output_lines = (folder / f"{number}.txt").read_text(errors="replace").splitlines()
            failures.append(_failed(output_lines) if code == SOME_FAILED else {})
            some_are_timed = any((folder / str(number)).rglob("*.json"))
            if code and not (failures[-1] and some_are_timed):
                if wrong := [line for line in output_lines if "Wrong expression passed" in line]:
                    raise UsageError(wrong[0].removeprefix("ERROR: "))
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                excerpt = "\n".join(output_lines[-12:])
                if any("ImportError" in line or "ModuleNotFoundError" in line
                       for line in output_lines):  # fmt: skip
                    excerpt += (
                        "\nthe benchmarks here import what those sources do not have: they are too "
                        "old to be compared, or too new"
                    )
                raise NotMeasuredError(f"the benchmarks of {side.name} end {how}:\n{excerpt}")
        histories = [read_history(folder / str(number)) for number in range(len(sides))]
    found = []
    for side, history, failed in zip(sides, histories, failures, strict=True):
        if not history.runs:
            problems = "; ".join(problem.text for problem in history.problems)
            raise NotMeasuredError(f"the benchmarks of {side.name} stored no run: {problems}")
        run = history.runs[-1]
        groups = {name: run.results[name].group for name in failed if name in run.results}
        nothing = {
            name: Result(groups.get(name, ""), None, failed=why) for name, why in failed.items()
        }
        found.append(run._replace(results={**run.results, **nothing}))
    return found


def _failed(output: Sequence[str]) -> dict[str, str]:
    """The benchmarks that pytest says have failed, by their names in a run, and why."""
    found = (_FAILED.match(line) for line in output)
    return {each["name"]: each["why"] or "pytest says no more" for each in found if each}


def _start(
    repository: Path, benchmarks: Path, side: Side, storage: Path, address: str, output: BinaryIO
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "pytest", str(benchmarks), "-q", "--benchmark-only",
        f"--benchmark-storage=file://{storage}", f"--turns={address}", *side.arguments,
        "--color=no", "-rfE",  # failures are read from its summary, whatever the environment says
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(side.sources), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=repository,
        # Threads that wait for work would otherwise spin while another side is timed; lines are
        # long enough to say why a benchmark failed.
        env={
            "OMP_WAIT_POLICY": "passive",
            **os.environ,
            "PYTHONPATH": path,
            "COLUMNS": "1000",
        },
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def commit_of(repository: Path, revision: str) -> str:
    """The number of the commit that ``revision`` names.

    Raises:
        UsageError: the revision does not exist.
    """
    try:
        name = f"{revision}^{{commit}}"
        return _git(repository, "rev-parse", "--verify", "--end-of-options", name)
    except UsageError as error:
        raise UsageError(f"unknown revision {revision!r} in {repository}: {error}") from None


def _unpack(repository: Path, commit: str, folder: Path) -> None:
    """The commit's ``src`` below ``folder``."""
    folder.mkdir()
    packed = folder / "src.tar"
    _git(repository, "archive", "--format=tar", f"--output={packed}", commit, "src")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")


def _git(repository: Path, *arguments: str) -> str:
    """What it answers."""
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        raise UsageError("git is not installed: --against needs it") from None
    except subprocess.CalledProcessError as error:
        excerpt = error.stderr.strip().splitlines()[-1:] or ["it failed"]
        raise UsageError(f"git {' '.join(arguments)}: {excerpt[0]}") from None
    return done.stdout.strip()
