"""Earlier runs of the benchmarks, and whether a run is slower than they were.

The unit is the run: samples within a process share its memory layout, its caches and the hour, so
that many of them say little about the next process. What is compared is one median a run.

Source of the files: pytest-benchmark's storage, a folder for each kind of machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

FEWEST_RUNS = 5
"""With fewer earlier runs nothing is known of how runs differ by themselves."""

_FALSE_ALARMS = 0.005
"""The share of runs without a change of which any benchmark is called slower."""

_LEAST_SPREAD = 0.003
"""Runs that happen to agree better do not prove that all will."""

Outcome = Literal["slower", "faster", "no difference shown", "not measured", "too few runs"]


class _Commit(msgspec.Struct):
    id: str = "unknown"
    dirty: bool = False


class _Info(msgspec.Struct):
    quiet_median_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Benchmark(msgspec.Struct):
    fullname: str
    group: str | None = None
    extra_info: _Info = msgspec.field(default_factory=_Info)


class _Machine(msgspec.Struct):
    clsbench: dict[str, Any]
    selection: str = ""


class _File(msgspec.Struct):
    machine_info: _Machine
    commit_info: _Commit
    datetime: str
    benchmarks: list[_Benchmark]


class Result(NamedTuple):
    """One benchmark in one run: its group, and its median in seconds over undisturbed rounds, if
    there were enough."""

    group: str
    seconds: float | None


class BenchmarkRun(NamedTuple):
    """One run of the benchmarks; ``machine`` is equal for like machines under like conditions,
    ``selection`` for runs that were to hold the same benchmarks."""

    file: Path
    date: str
    commit: str
    machine: str
    results: Mapping[str, Result]
    selection: str = ""


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
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue  # not finished
        try:
            found = msgspec.json.decode(file.read_bytes(), type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(f"{file} is no run of these benchmarks: {error}")
            continue
        machine = msgspec.json.encode(found.machine_info.clsbench, order="sorted").decode()
        commit = found.commit_info.id[:10] + ("-dirty" if found.commit_info.dirty else "")
        results = {
            b.fullname: Result(b.group or "", b.extra_info.quiet_median_seconds)
            for b in found.benchmarks
        }
        runs.append(
            BenchmarkRun(
                file, found.datetime, commit, machine, results, found.machine_info.selection
            )
        )
    return History(tuple(sorted(runs, key=lambda run: run.date)), tuple(problems))


def like_runs(history: History, run: BenchmarkRun) -> tuple[BenchmarkRun, ...]:
    """The runs before ``run`` on a like machine."""
    return tuple(r for r in history.runs if r.machine == run.machine and r.date < run.date)


def judge(
    run: BenchmarkRun, earlier: Sequence[BenchmarkRun], thresholds: Thresholds
) -> tuple[Verdict, ...]:
    """Every benchmark of ``run`` against the earlier runs, and those that it lacks.

    Slower is what exceeds both the threshold and what runs without a change show: a prediction
    interval on the logarithms of the medians.
    """
    names = dict.fromkeys([*run.results, *_vanished(run, earlier)])
    before = {name: _logarithms(name, earlier) for name in names}
    spreads = _spreads(before)
    verdicts = []
    for name in names:
        group, seconds = run.results.get(name) or Result(_group(name, earlier), None)
        logs, threshold = before[name], thresholds.of(name, group)
        verdict = Verdict(
            benchmark=name,
            group=group,
            outcome="not measured",
            earlier_runs=len(logs),
            threshold=threshold,
            seconds=seconds,
        )
        if seconds is not None and name not in spreads:
            verdict = msgspec.structs.replace(verdict, outcome="too few runs")
        elif seconds is not None:
            ratio = seconds / math.exp(float(np.median(logs)))
            # The middle of n varies by π/2n of the variance of one.
            limit = spreads[name].limit(1 + math.pi / 2 / len(logs), len(spreads))
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
    threshold and what no difference would show: an interval of the mean logarithm of the ratios.
    """
    names = list(dict.fromkeys(name for _, new in pairs for name in new.results))
    ratios = {name: _log_ratios(name, pairs) for name in names}
    spreads = _spreads(ratios)
    verdicts = []
    for name in names:
        group = next(new.results[name].group for _, new in pairs if name in new.results)
        logs, threshold = ratios[name], thresholds.of(name, group)
        known = any(name in old.results for old, _ in pairs)
        ratio = limit = None
        outcome: Outcome = "not measured" if known else "too few runs"
        if name in spreads:
            ratio = math.exp(float(np.mean(logs)))
            limit = spreads[name].limit(1 / len(logs), len(spreads))
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


def _vanished(run: BenchmarkRun, earlier: Sequence[BenchmarkRun]) -> list[str]:
    """Benchmarks that earlier runs of the same selection have, and this one has not."""
    like = [before for before in earlier if before.selection == run.selection]
    names = dict.fromkeys(name for before in like for name in before.results)
    return [
        name
        for name in names
        if name not in run.results and sum(name in b.results for b in like) >= FEWEST_RUNS
    ]


def _group(name: str, runs: Iterable[BenchmarkRun]) -> str:
    return next((run.results[name].group for run in runs if name in run.results), "")


class _Spread(NamedTuple):
    """The standard deviation of one logarithm of a benchmark, and its degrees of freedom."""

    deviation: float
    freedom: float

    def limit(self, variances: float, comparisons: int) -> float:
        """The largest ratio to be expected of so many times the variance, in so many
        comparisons."""
        quantile = float(stats.t.isf(_FALSE_ALARMS / comparisons, self.freedom))
        return math.exp(quantile * self.deviation * math.sqrt(variances))


def _spreads(groups: Mapping[str, Sequence[float]]) -> dict[str, _Spread]:
    """How each benchmark varies by itself: its own variance, drawn towards what is usual.

    A few runs tell little of a variance. The more alike those of all benchmarks are, the more each
    borrows from the others.

    Source: Smyth, Statistical Applications in Genetics and Molecular Biology 3 (2004), section 6.2.
    """
    own = {name: logs for name, logs in groups.items() if len(logs) >= FEWEST_RUNS}
    if not own:
        return {}
    least = _LEAST_SPREAD**2
    variances = np.array([max(float(np.var(logs, ddof=1)), least) for logs in own.values()])
    freedoms = np.array([len(logs) - 1.0 for logs in own.values()])
    levels = np.log(variances) - digamma(freedoms / 2) + np.log(freedoms / 2)
    excess = (
        float(np.var(levels, ddof=1) - np.mean(polygamma(1, freedoms / 2)))
        if len(own) > 1
        else math.inf
    )
    if excess <= 0:  # no more unlike than chance makes them
        usual, weight = math.exp(float(np.mean(levels))), 1e6
    else:
        weight = 0.0 if math.isinf(excess) else 2 * _inverse_trigamma(excess)
        usual = 0.0
        if weight:
            shift = float(digamma(weight / 2)) - math.log(weight / 2)
            usual = math.exp(float(np.mean(levels)) + shift)
    found = {}
    for name, variance, freedom in zip(own, variances, freedoms, strict=True):
        drawn = (weight * usual + freedom * variance) / (weight + freedom)
        found[name] = _Spread(math.sqrt(max(drawn, least)), weight + freedom)
    return found


def _inverse_trigamma(value: float) -> float:
    within = min(max(value, 1e-6), 1e6)
    return float(brentq(lambda x: float(polygamma(1, x)) - within, 1e-4, 1e7))
