"""Run the benchmarks of two checkouts side by side, each in a separate process.

The speed of a shared machine drifts, even if the code does not change. Therefore the two processes
of a pair time their rounds alternately.
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
from benchmarks.watch.round_server import SOME_FAILED, RoundServer

from clsbench.errors import NotMeasuredError, UsageError
from clsbench.system.unfinished import temporary_folder

logger = logging.getLogger(__name__)

_NOTHING_SELECTED = 5
"""Pytest's exit code if no test is selected."""

_FAILED = re.compile(r"(FAILED|ERROR) .*?(?P<name>\w+\.py::.+?)( - (?P<why>.*))?$")
"""A line of pytest's summary."""

_NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "baseline")

Pair = tuple[BenchmarkRun, BenchmarkRun]
"""A run of the old sources, and one of the new sources."""


def runs_in_pairs(
    repository: Path, revision: str, arguments: Sequence[str], more: Callable[[list[Pair]], bool]
) -> list[Pair]:
    """Run the sources at ``revision`` and those in ``repository``, as long as ``more`` pairs are
    needed.

    Both are timed by the benchmarks of ``repository``; ``arguments`` are pytest's. Everything that
    the benchmarks import comes from the sources of either side. The sources are copied to a
    temporary folder at the beginning, which git does not see.

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
    """The failures of the last pair that have not occurred before."""
    for name, runs in zip((revision, "the working tree"), zip(*pairs, strict=True), strict=True):
        *earlier, last = (
            {test: r.failed for test, r in run.results.items() if r.failed} for run in runs
        )
        for test, why in last.items():
            if not any(test in each for each in earlier):
                logger.warning("%s of %s failed: %s", test, name, why)


class Side(NamedTuple):
    """Sources, their name in messages, and pytest's arguments for timing them."""

    name: str
    sources: Path
    arguments: Sequence[str]


def runs_in_turn(
    repository: Path, sides: Sequence[Side], benchmarks: Path | None = None
) -> list[BenchmarkRun]:
    """Run the benchmarks of ``repository`` (or of the copy ``benchmarks``) for all sides at once,
    round by round. Failed benchmarks have no times.

    Raises:
        UsageError: no benchmark is selected.
        NotMeasuredError: those of a side cannot be run (the others are then stopped), or all fail.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(
            temporary_folder(Path(tempfile.gettempdir()), "clsbench-turns-")
        )
        server = stack.enter_context(contextlib.closing(RoundServer()))
        processes = []
        for number, side in enumerate(sides):
            output = stack.enter_context((folder / f"{number}.txt").open("wb"))
            process = _start(
                repository, benchmarks or repository / "benchmarks", side, folder / str(number),
                server.address, output,
            )  # fmt: skip
            stack.callback(_end, process)
            processes.append(process)
        server.attend(processes)
        failures: list[dict[str, str]] = []
        for number, (side, process) in enumerate(zip(sides, processes, strict=True)):
            code = process.poll()  # None: stopped, since another one failed
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
    """The failed benchmarks in pytest's output, by their names in a run, with reasons."""
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
    """The hash of the commit that ``revision`` names.

    Raises:
        UsageError: the revision does not exist.
    """
    try:
        name = f"{revision}^{{commit}}"
        return _git(repository, "rev-parse", "--verify", "--end-of-options", name)
    except UsageError as error:
        raise UsageError(f"unknown revision {revision!r} in {repository}: {error}") from None


def _unpack(repository: Path, commit: str, folder: Path) -> None:
    """Extract the commit's ``src`` below ``folder``."""
    folder.mkdir()
    packed = folder / "src.tar"
    _git(repository, "archive", "--format=tar", f"--output={packed}", commit, "src")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")


def _git(repository: Path, *arguments: str) -> str:
    """Run git and return its output."""
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
