"""Judge whether a run of the benchmarks is slower than earlier ones, or one checkout than another.

The unit of comparison is the run: samples within a process share its memory layout, caches and time
of day, so they say little about the next process. Each run contributes one value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from benchmarks.watch.history import FEWEST_RUNS, BenchmarkRun, Result, Round
from benchmarks.watch.spreads import LEAST_SPREAD, spreads

_FEWEST_IN_TURN = 3
"""The number of rounds from which neighbouring rounds give more information than two medians."""

_DETECTABLE = 2.0
"""If unchanged runs vary so much that a slow-down of this many thresholds could not be detected,
the benchmark counts as not measured."""

MOST_TIMES = 5
"""The maximum number of pairs, as a multiple of the requested number, if pairs vary much."""

_OTHER_STATE = 0.1
"""The allowed deviation of the machine from all earlier runs by the reference work, as a
fraction."""

_OTHER_STATE_FOR_SECONDS = 0.03
"""The allowed deviation if seconds are judged, which it affects directly."""

_STEP = 5.0
"""The number of standard deviations between runs before and after a change of the code for it to
count."""

Outcome = Literal["slower", "faster", "no difference shown", "not measured", "too few runs", "new"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark of a run compared with earlier runs on a similar machine.

    ``ratio``: its time relative to the centre of the earlier ones. ``limit``: the largest ratio
    that unchanged runs are expected to show. ``threshold``: the smallest slow-down that matters, as
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


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the machine according to the reference work.

    ``pace``: its time in a run, relative to the centre of the earlier runs; ``lowest`` and
    ``highest``: the range of those; ``relative``: whether benchmarks were judged as multiples of
    it, because earlier runs agree better in these.
    """

    pace: float
    lowest: float
    highest: float
    relative: bool

    @property
    def strange(self) -> bool:
        """Whether the machine is in another state than in all earlier runs."""
        beyond = 1 + (_OTHER_STATE if self.relative else _OTHER_STATE_FOR_SECONDS)
        return not self.lowest / beyond <= self.pace <= self.highest * beyond


class Judgement(NamedTuple):
    """The verdicts, and the state of the machine if all runs include the reference work."""

    verdicts: tuple[Verdict, ...]
    machine: Machine | None


class Thresholds(NamedTuple):
    """The smallest slow-down that matters, as a fraction: in general, and for names or groups.

    ``special`` holds beginnings of groups, or parts of names; the longest match applies.
    """

    general: float
    special: Mapping[str, float] = {}

    @staticmethod
    def fits(key: str, name: str, group: str) -> bool:
        """Whether ``key`` matches a benchmark."""
        return group.startswith(key) or key in name

    def of(self, name: str, group: str) -> float:
        """The threshold of a benchmark."""
        fitting = [key for key in self.special if self.fits(key, name, group)]
        return self.special[max(fitting, key=len)] if fitting else self.general


def judge(run: BenchmarkRun, earlier: Sequence[BenchmarkRun], thresholds: Thresholds) -> Judgement:
    """Judge all benchmarks of ``run`` against the earlier runs, and list those that it lacks.

    A benchmark is slower if it exceeds the threshold, all earlier runs, and the range of unchanged
    runs: a prediction interval on the logarithms of the medians, in seconds or in multiples of the
    reference work, whichever agrees better in the earlier runs. It is not measured if the machine
    is in another state than in all of them, or if they vary too much. Runs before a lasting change
    of a benchmark's speed do not count for it.
    """
    names = dict.fromkeys([*run.results, *_vanished(run, earlier)])
    since = {name: _since_the_last_change(name, earlier) for name in names}
    machine = _machine(run, earlier, since)
    measure = _multiple if machine is not None and machine.relative else _seconds
    before = {name: _logarithms(name, runs, measure) for name, runs in since.items()}
    varying = spreads(before)
    verdicts = []
    for name in names:
        result = run.results.get(name) or Result(_group(name, earlier), None)
        now, logs = measure(result), before[name]
        threshold = thresholds.of(name, result.group)
        verdict = Verdict(
            benchmark=name,
            group=result.group,
            outcome="not measured",
            earlier_runs=len(logs),
            threshold=threshold,
            seconds=result.seconds,
        )
        if now is not None and name not in varying:
            verdict = msgspec.structs.replace(verdict, outcome="too few runs")
        elif now is not None and (machine is None or not machine.strange):
            middle = float(np.median(logs))
            ratio = now / math.exp(middle)
            # The variance of the median of n values is π/2n of that of one.
            limit = varying[name].limit(1 + math.pi / 2 / len(logs), len(varying))
            verdict = msgspec.structs.replace(
                verdict,
                outcome=_outcome(
                    ratio,
                    limit,
                    threshold,
                    highest=math.exp(max(logs) - middle),
                    lowest=math.exp(min(logs) - middle),
                ),
                ratio=ratio,
                limit=limit,
            )
        verdicts.append(verdict)
    return Judgement(tuple(verdicts), machine)


def judge_pairs(
    pairs: Sequence[tuple[BenchmarkRun, BenchmarkRun]], thresholds: Thresholds
) -> tuple[Verdict, ...]:
    """Judge all benchmarks of one checkout against those of another, from pairs of runs.

    ``pairs`` hold the runs of the old and the new checkout. A benchmark is slower if it exceeds the
    threshold and the range of no difference: an interval of the mean logarithm of the ratios.
    Benchmarks that only the old checkout has are not measured; those that only the new one has are
    new.
    """
    names = list(dict.fromkeys(
        name for pair in pairs for run in reversed(pair) for name in run.results
    ))  # fmt: skip
    ratios = {name: _log_ratios(name, pairs) for name in names}
    varying = spreads(ratios)
    verdicts = []
    for name in names:
        group = _group(name, [run for pair in pairs for run in reversed(pair)])
        logs, threshold = ratios[name], thresholds.of(name, group)
        known = any(
            name in old.results or (name in new.results and not new.results[name].seconds)
            for old, new in pairs
        )
        ratio = limit = None
        outcome: Outcome = "not measured" if known else "new"
        if name in varying:
            ratio = math.exp(float(np.mean(logs)))
            limit = varying[name].limit(1 / len(logs), len(varying))
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


def more_pairs(
    pairs: Sequence[tuple[BenchmarkRun, BenchmarkRun]], thresholds: Thresholds, fewest: int
) -> bool:
    """Whether more pairs are needed to detect the threshold of each benchmark.

    They are if pairs vary too much or were disturbed, or if there are fewer than ``fewest``; but at
    most :data:`MOST_TIMES` as many are run. This depends on the variation of the pairs, not on the
    difference between the sides, so that runs do not continue until a difference is found. If no
    round of the first ``fewest`` is undisturbed, the load is permanent and no more are run, nor for
    benchmarks that always fail.
    """
    if len(pairs) < fewest:
        return True
    both = [v for v in judge_pairs(pairs, thresholds)
            if any(v.benchmark in old.results and v.benchmark in new.results
                   for old, new in pairs) and not _always_fails(v.benchmark, pairs)]  # fmt: skip
    if not any(v.earlier_runs for v in both):
        return False
    undetected = any(v.limit is None or v.limit > 1 + v.threshold for v in both)
    return len(pairs) < MOST_TIMES * fewest and undetected


def _always_fails(name: str, pairs: Sequence[tuple[BenchmarkRun, BenchmarkRun]]) -> bool:
    """Whether the benchmark has failed in all pairs on one side."""
    return any(
        all(name in run.results and run.results[name].failed for run in runs)
        for runs in zip(*pairs, strict=True)
    )


def _outcome(
    ratio: float, limit: float, threshold: float, highest: float = 0.0, lowest: float = math.inf
) -> Outcome:
    """``highest`` and ``lowest`` are ratios of unchanged runs."""
    least = max(limit, 1 + threshold)
    if ratio > max(least, highest):
        return "slower"
    if ratio < min(1 / least, lowest):
        return "faster"
    return "no difference shown" if limit <= 1 + _DETECTABLE * threshold else "not measured"


_Measure = Callable[[Result], float | None]


def _seconds(result: Result) -> float | None:
    return result.seconds


def _multiple(result: Result) -> float | None:
    return result.of_reference


def _since_the_last_change(name: str, runs: Sequence[BenchmarkRun]) -> Sequence[BenchmarkRun]:
    """The runs after the last step between two commits that shows in seconds and in multiples of
    the reference work; a step in only one of them is due to the machine."""
    known = [
        (place, run.results[name])
        for place, run in enumerate(runs)
        if name in run.results and run.results[name].seconds and run.results[name].of_reference
    ]
    measured = [
        [math.log(measure(result) or 1.0) for _, result in known]
        for measure in (_seconds, _multiple)
    ]
    for at in range(len(known) - FEWEST_RUNS, FEWEST_RUNS - 1, -1):
        place, before = known[at][0], known[at - 1][0]
        if runs[place].commit != runs[before].commit:
            seconds, multiples = (_step(logs, at) for logs in measured)
            if seconds * multiples > 0:  # in the same direction
                return runs[place:]
    return runs


def _step(logs: Sequence[float], at: int) -> float:
    """The distance by which all values from ``at`` on lie on one side of the few before; 0 if they
    do not, or if it is small."""
    before, after = logs[at - FEWEST_RUNS : at], logs[at:]
    if max(before) >= min(after) and max(after) >= min(before):
        return 0.0
    deviation = math.sqrt((float(np.var(before, ddof=1)) + float(np.var(after, ddof=1))) / 2)
    gap = float(np.median(after)) - float(np.median(before))
    return gap if abs(gap) > _STEP * max(deviation, LEAST_SPREAD) else 0.0


def _machine(
    run: BenchmarkRun,
    earlier: Sequence[BenchmarkRun],
    since: Mapping[str, Sequence[BenchmarkRun]],
) -> Machine | None:
    # Nothing is known any more about a state of the machine that occurred only before a step.
    counting = min(since.values(), key=len, default=earlier)
    references = [before.reference_seconds for before in counting]
    known = [taken for taken in references if taken is not None]
    if run.reference_seconds is None or len(known) < max(len(references), FEWEST_RUNS):
        return None
    middle = float(np.median(known))
    by_seconds, by_multiples = (_usual_spread(since, each) for each in (_seconds, _multiple))
    return Machine(
        pace=run.reference_seconds / middle,
        lowest=min(known) / middle,
        highest=max(known) / middle,
        relative=by_multiples < by_seconds,
    )


def _usual_spread(since: Mapping[str, Sequence[BenchmarkRun]], measure: _Measure) -> float:
    logs = [_logarithms(name, runs, measure) for name, runs in since.items()]
    found = [float(np.std(each, ddof=1)) for each in logs if len(each) >= FEWEST_RUNS]
    return float(np.median(found)) if found else math.inf


def _logarithms(name: str, runs: Iterable[BenchmarkRun], measure: _Measure) -> list[float]:
    found = [measure(run.results[name]) for run in runs if name in run.results]
    return [math.log(figure) for figure in found if figure]


def _log_ratios(name: str, pairs: Iterable[tuple[BenchmarkRun, BenchmarkRun]]) -> list[float]:
    found = []
    for old, new in pairs:
        if name in old.results and name in new.results:
            before, after = old.results[name], new.results[name]
            if not before.seconds or not after.seconds:
                continue
            if before.rounds and after.rounds:
                found += _log_ratio_in_turn(before.rounds, after.rounds)
            else:
                found.append(math.log(after.seconds / before.seconds))
    return found


def _log_ratio_in_turn(before: Sequence[Round], after: Sequence[Round]) -> list[float]:
    """The logarithm of the ratio of one side's rounds to the surrounding rounds of the other side;
    empty if too few have a round before and after.

    Computed in both directions, since noise that only slows down would favour the side with
    isolated rounds.
    """
    longer, shorter = _against_neighbours(after, before), _against_neighbours(before, after)
    if min(len(longer), len(shorter)) < _FEWEST_IN_TURN:
        return []
    return [(float(np.median(longer)) - float(np.median(shorter))) / 2]


def _against_neighbours(rounds: Sequence[Round], others: Sequence[Round]) -> list[float]:
    starts = np.array([other.started for other in others])
    logs = np.log([other.seconds for other in others])
    found = []
    for each in rounds:
        place = int(np.searchsorted(starts, each.started))
        if 0 < place < len(starts):
            found.append(math.log(each.seconds) - (logs[place - 1] + logs[place]) / 2)
    return found


def _vanished(run: BenchmarkRun, earlier: Sequence[BenchmarkRun]) -> list[str]:
    """Benchmarks that earlier runs of the same selection have, but this one lacks."""
    like = [before for before in earlier if before.selection == run.selection]
    names = dict.fromkeys(name for before in like for name in before.results)
    return [
        name
        for name in names
        if name not in run.results and sum(name in b.results for b in like) >= FEWEST_RUNS
    ]


def _group(name: str, runs: Iterable[BenchmarkRun]) -> str:
    groups = (run.results[name].group for run in runs if name in run.results)
    return next(filter(None, groups), "")  # a failed benchmark may not be reported
