"""Earlier runs of the benchmarks, and whether a run is slower than they were.

The unit is the run: samples within a process share its memory layout, its caches and the hour, so
that many of them say little about the next process. What is compared is one median a run.

Source of the files: pytest-benchmark's storage, a folder for each kind of machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from scipy import stats

FEWEST_RUNS = 5
"""With fewer earlier runs nothing is known of how runs differ by themselves."""

_CONFIDENCE = 0.999
"""Of one comparison; one alarm in a thousand runs is false."""

_LEAST_SPREAD = 0.003
"""Runs that happen to agree better do not prove that all will."""

Outcome = Literal["slower", "faster", "no difference shown", "not measured", "too few runs"]


class _Commit(msgspec.Struct):
    id: str = "unknown"
    dirty: bool = False


class _Info(msgspec.Struct):
    quiet_median_seconds: float | None = None


class _Benchmark(msgspec.Struct):
    fullname: str
    group: str | None = None
    extra_info: _Info = msgspec.field(default_factory=_Info)


class _File(msgspec.Struct):
    machine_info: dict[str, Any]
    commit_info: _Commit
    datetime: str
    benchmarks: list[_Benchmark]


class Result(NamedTuple):
    """One benchmark in one run: its group, and its median in seconds over undisturbed rounds, if
    there were enough."""

    group: str
    seconds: float | None


class BenchmarkRun(NamedTuple):
    """One run of the benchmarks; ``machine`` is equal for like machines under like conditions."""

    file: Path
    date: str
    commit: str
    machine: str
    results: Mapping[str, Result]


class History(NamedTuple):
    """Every run that could be read, the oldest first, and what is wrong with other files."""

    runs: tuple[BenchmarkRun, ...]
    problems: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark of a run against earlier runs on a like machine.

    ``ratio``: its time over the middle of the earlier ones; ``limit``: the largest ratio that runs
    without any change are expected to show; ``threshold``: the smallest slow-down that matters, as
    a fraction.
    """

    benchmark: str
    group: str
    outcome: Outcome
    earlier_runs: int
    threshold: float
    seconds: float | None = None
    ratio: float | None = None
    limit: float | None = None


def read_history(folder: Path) -> History:
    """Every run in pytest-benchmark's storage; a folder that does not exist holds none."""
    runs, problems = [], []
    for file in sorted(folder.rglob("*.json")):
        try:
            found = msgspec.json.decode(file.read_bytes(), type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{file} is no run of pytest-benchmark: {error}")
            continue
        if "clsbench" not in found.machine_info:
            problems.append(f"{file} is a run of other benchmarks: it names no machine")
            continue
        machine = msgspec.json.encode(found.machine_info["clsbench"], order="sorted").decode()
        commit = found.commit_info.id[:10] + ("-dirty" if found.commit_info.dirty else "")
        results = {
            b.fullname: Result(b.group or "", b.extra_info.quiet_median_seconds)
            for b in found.benchmarks
        }
        runs.append(BenchmarkRun(file, found.datetime, commit, machine, results))
    return History(tuple(sorted(runs, key=lambda run: run.date)), tuple(problems))


def like_runs(history: History, run: BenchmarkRun) -> tuple[BenchmarkRun, ...]:
    """The runs before ``run`` on a like machine."""
    return tuple(r for r in history.runs if r.machine == run.machine and r.date < run.date)


def judge(
    run: BenchmarkRun, earlier: Sequence[BenchmarkRun], thresholds: Thresholds
) -> tuple[Verdict, ...]:
    """Every benchmark of ``run`` against the earlier runs.

    Slower is what exceeds both the threshold and what runs without a change show: a prediction
    interval on the logarithms of the medians, their spread pooled over the benchmarks.
    """
    before = {name: _logarithms(name, earlier) for name in run.results}
    spread, freedom = _pooled_spread(before.values())
    verdicts = []
    for name, (group, seconds) in run.results.items():
        threshold = thresholds.of(name, group)
        logs = before[name]
        verdict = Verdict(
            benchmark=name,
            group=group,
            outcome="not measured",
            earlier_runs=len(logs),
            threshold=threshold,
            seconds=seconds,
        )
        if seconds is not None and len(logs) < FEWEST_RUNS:
            verdict = msgspec.structs.replace(verdict, outcome="too few runs")
        elif seconds is not None:
            ratio = seconds / math.exp(float(np.mean(logs)))
            reach = stats.t.ppf(_CONFIDENCE, freedom) * spread * math.sqrt(1 + 1 / len(logs))
            limit = math.exp(float(reach))
            verdict = msgspec.structs.replace(
                verdict, outcome=_outcome(ratio, limit, threshold), ratio=ratio, limit=limit
            )
        verdicts.append(verdict)
    return tuple(verdicts)


def judge_pairs(
    pairs: Sequence[tuple[BenchmarkRun, BenchmarkRun]], thresholds: Thresholds
) -> tuple[Verdict, ...]:
    """Every benchmark of runs of one checkout against those of another, taken in pairs.

    ``pairs`` hold the run of the old and that of the new checkout. Slower is what exceeds both the
    threshold and what no difference would show: an interval of the mean logarithm of the ratios,
    their spread pooled over the benchmarks.
    """
    names = list(dict.fromkeys(name for _, new in pairs for name in new.results))
    ratios = {name: _log_ratios(name, pairs) for name in names}
    spread, freedom = _pooled_spread(ratios.values())
    verdicts = []
    for name in names:
        group = next(new.results[name].group for _, new in pairs if name in new.results)
        logs, threshold = ratios[name], thresholds.of(name, group)
        known = any(name in old.results for old, _ in pairs)
        ratio = limit = None
        outcome: Outcome = "not measured" if known else "too few runs"
        if len(logs) >= FEWEST_RUNS:
            ratio = math.exp(float(np.mean(logs)))
            reach = stats.t.ppf(_CONFIDENCE, freedom) * spread / math.sqrt(len(logs))
            limit = math.exp(float(reach))
            outcome = _outcome(ratio, limit, threshold)
        seconds = [new.results[name].seconds for _, new in pairs if name in new.results]
        measured = [taken for taken in seconds if taken]
        verdicts.append(
            Verdict(
                benchmark=name,
                group=group,
                outcome=outcome,
                earlier_runs=len(logs),
                threshold=threshold,
                seconds=float(np.median(measured)) if measured else None,
                ratio=ratio,
                limit=limit,
            )
        )
    return tuple(verdicts)


class Thresholds(NamedTuple):
    """The smallest slow-down that matters, as a fraction: in general, and for names or groups.

    ``special`` holds beginnings of groups, or parts of names; the longest that fits counts.
    """

    general: float
    special: Mapping[str, float] = {}

    def of(self, name: str, group: str) -> float:
        """The threshold of a benchmark."""
        fitting = [key for key in self.special if group.startswith(key) or key in name]
        return self.special[max(fitting, key=len)] if fitting else self.general


def _outcome(ratio: float, limit: float, threshold: float) -> Outcome:
    least = max(limit, 1 + threshold)
    if ratio > least:
        return "slower"
    return "faster" if ratio < 1 / least else "no difference shown"


def _logarithms(name: str, runs: Iterable[BenchmarkRun]) -> list[float]:
    found = [run.results[name].seconds for run in runs if name in run.results]
    return [math.log(seconds) for seconds in found if seconds]


def _log_ratios(name: str, pairs: Iterable[tuple[BenchmarkRun, BenchmarkRun]]) -> list[float]:
    found = []
    for old, new in pairs:
        if name in old.results and name in new.results:
            before, after = old.results[name].seconds, new.results[name].seconds
            if before and after:
                found.append(math.log(after / before))
    return found


def _pooled_spread(groups: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within the groups, and its degrees of freedom."""
    enough = [group for group in groups if len(group) >= FEWEST_RUNS]
    freedom = sum(len(group) - 1 for group in enough)
    if freedom == 0:
        return math.inf, 1
    squares = sum(float(np.var(group)) * len(group) for group in enough)
    return max(math.sqrt(squares / freedom), _LEAST_SPREAD), freedom
