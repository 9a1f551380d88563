"""Read earlier runs of the benchmarks, as stored by pytest-benchmark.

One folder per kind of machine, one file per run.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from clsbench.schema.decoding import DecodingError, decode_json, read_bytes

FEWEST_RUNS = 5
"""The minimum number of runs for estimating how runs vary."""

_CLOCKS_DIFFER = timedelta(days=1)


class _Commit(msgspec.Struct):
    id: str = "unknown"
    dirty: bool = False


_Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Info(msgspec.Struct):
    quiet_median_seconds: _Positive | None = None
    quiet_median_of_reference: _Positive | None = None
    started_seconds: list[float] = []
    reference_seconds: list[_Positive] = []
    foreign_cores: list[float] = []
    load_limit_cores: float = 0.0


class _Stats(msgspec.Struct):
    data: list[_Positive] = []


class _Benchmark(msgspec.Struct):
    fullname: str
    group: str | None = None
    extra_info: _Info = msgspec.field(default_factory=_Info)
    stats: _Stats = msgspec.field(default_factory=_Stats)


class _Machine(msgspec.Struct):
    clsbench: dict[str, Any]
    selection: str = ""


class _File(msgspec.Struct):
    machine_info: _Machine
    commit_info: _Commit
    datetime: str
    benchmarks: list[_Benchmark]


class Round(NamedTuple):
    """An undisturbed round: its start (seconds, comparable between processes since the machine was
    started), and the seconds per call."""

    started: float
    seconds: float


class Result(NamedTuple):
    """One benchmark in one run.

    Its group, its median in seconds over undisturbed rounds if there were enough, the median of
    each round relative to the reference work next to it, and the rounds if they were stored. A
    benchmark that ``failed`` has only the reason.
    """

    group: str
    seconds: float | None
    of_reference: float | None = None
    rounds: tuple[Round, ...] = ()
    failed: str = ""


class BenchmarkRun(NamedTuple):
    """One run of the benchmarks.

    ``machine`` is equal for similar machines under similar conditions, ``selection`` for runs with
    the same selection of benchmarks; ``reference_seconds`` is the time of the reference work, if it
    was done.
    """

    file: Path
    date: str
    commit: str
    machine: str
    results: Mapping[str, Result]
    selection: str = ""
    reference_seconds: float | None = None


class Problem(NamedTuple):
    """A file that cannot be read, and the message that names it."""

    file: Path
    text: str


class History(NamedTuple):
    """All readable runs, oldest first, and the problems of other files."""

    runs: tuple[BenchmarkRun, ...]
    problems: tuple[Problem, ...]


def read_history(folder: Path) -> History:
    """All runs in pytest-benchmark's storage; empty if the folder does not exist."""
    runs, problems = [], []
    latest = (datetime.now(UTC) + _CLOCKS_DIFFER).isoformat()
    for file in sorted(folder.rglob("*.json")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue  # not finished
        try:
            found = decode_json(read_bytes(file), _File)
        except (OSError, DecodingError) as error:
            text = f"{file} is not a run of these benchmarks: {error}"
            problems.append(Problem(file, text))
            continue
        if found.datetime[:19] > latest[:19]:  # it would always be the latest
            text = f"{file} is dated {found.datetime[:10]}: the clock was wrong"
            problems.append(Problem(file, text))
            continue
        machine = msgspec.json.encode(found.machine_info.clsbench, order="sorted").decode()
        commit = found.commit_info.id[:10] + ("-dirty" if found.commit_info.dirty else "")
        results = {b.fullname: _result(b) for b in found.benchmarks}
        references = [taken for b in found.benchmarks for taken in b.extra_info.reference_seconds]
        runs.append(
            BenchmarkRun(
                file=file,
                date=found.datetime,
                commit=commit,
                machine=machine,
                results=results,
                selection=found.machine_info.selection,
                reference_seconds=statistics.median(references) if references else None,
            )
        )
    return History(tuple(sorted(runs, key=lambda run: run.date)), tuple(problems))


def _result(benchmark: _Benchmark) -> Result:
    info = benchmark.extra_info
    rounds = zip(info.started_seconds, benchmark.stats.data, info.foreign_cores, strict=False)
    return Result(
        benchmark.group or "",
        info.quiet_median_seconds,
        info.quiet_median_of_reference,
        tuple(Round(at, taken) for at, taken, load in rounds if load <= info.load_limit_cores),
    )


def like_runs(history: History, run: BenchmarkRun) -> tuple[BenchmarkRun, ...]:
    """The runs before ``run`` on a similar machine."""
    return tuple(r for r in history.runs if r.machine == run.machine and r.date < run.date)
