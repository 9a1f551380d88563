"""Whether a run of the benchmarks is slower than earlier ones, or one checkout than another.

The unit is the run: samples within a process share its memory layout, its caches and the hour, so
that many of them say little about the next process. What is compared is one figure a run.
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
"""Rounds from which neighbouring rounds give more information than the two medians."""

_DETECTABLE = 2.0
"""If unchanged runs vary so much that a slow-down of this many thresholds could not be detected,
the benchmark counts as not measured."""

MOST_TIMES = 5
"""How many times as many pairs as are asked for there may be, where they differ much."""

_OTHER_STATE = 0.1
"""How far beyond all earlier runs the machine may be, as a fraction, by the reference work."""

_OTHER_STATE_FOR_SECONDS = 0.03
"""The same where seconds are judged, in which all of it shows."""

_STEP = 5.0
"""How many standard deviations apart runs before and behind a change of the code lie that is to be
seen by them."""

Outcome = Literal["slower", "faster", "no difference shown", "not measured", "too few runs", "new"]


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


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the reference work shows of the machine.

    ``pace``: how long it took in a run, over the middle of the earlier ones; ``lowest`` and
    ``highest``: what those themselves were; ``relative``: whether the times of benchmarks were
    judged as multiples of it, since the earlier runs agree better in these.
    """

    pace: float
    lowest: float
    highest: float
    relative: bool

    @property
    def strange(self) -> bool:
        """Whether it is in another state than in any of the earlier runs."""
        beyond = 1 + (_OTHER_STATE if self.relative else _OTHER_STATE_FOR_SECONDS)
        return not self.lowest / beyond <= self.pace <= self.highest * beyond


class Judgement(NamedTuple):
    """The verdicts, and what the reference work shows, where it was done in all runs."""

    verdicts: tuple[Verdict, ...]
    machine: Machine | None


class Thresholds(NamedTuple):
    """The smallest slow-down that matters, as a fraction: in general, and for names or groups.

    ``special`` holds beginnings of groups, or parts of names; the longest that fits counts.
    """

    general: float
    special: Mapping[str, float] = {}

    @staticmethod
    def fits(key: str, name: str, group: str) -> bool:
        """Whether ``key`` is meant for a benchmark."""
        return group.startswith(key) or key in name

    def of(self, name: str, group: str) -> float:
        """The threshold of a benchmark."""
        fitting = [key for key in self.special if self.fits(key, name, group)]
        return self.special[max(fitting, key=len)] if fitting else self.general


def judge(run: BenchmarkRun, earlier: Sequence[BenchmarkRun], thresholds: Thresholds) -> Judgement:
    """Every benchmark of ``run`` against the earlier runs, and those that it lacks.

    Slower is what exceeds the threshold, every earlier run, and what runs without a change show: a
    prediction interval on the logarithms of the medians, of seconds or of multiples of the
    reference work, whichever the earlier runs agree in better. Nothing is measured where the
    machine is in another state than in any of them, or where they differ too much. Runs before a
    change of the code that changed a benchmark's speed for good do not count for it.
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
            # The middle of n varies by π/2n of the variance of one.
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
    """Every benchmark of runs of one checkout against those of another, taken in pairs.

    ``pairs`` hold the run of the old and that of the new checkout. Slower is what exceeds both the
    threshold and what no difference would show: an interval of the mean logarithm of the ratios.
    What only the old one has is not measured, what only the new one has is new.
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
    """Whether more pairs are needed to detect each benchmark's threshold, since they vary too much
    or were disturbed, or ``fewest`` are not there yet; :data:`MOST_TIMES` as many are enough in any
    case.

    How much they differ by themselves decides, and not by how much one side is slower: so a verdict
    is not looked for until it is found. Where nothing at all is undisturbed in the first
    ``fewest``, the load is one that stays, and there are no more; nor for what always fails.
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
    """Whether it has failed in every pair on one side."""
    return any(
        all(name in run.results and run.results[name].failed for run in runs)
        for runs in zip(*pairs, strict=True)
    )


def _outcome(
    ratio: float, limit: float, threshold: float, highest: float = 0.0, lowest: float = math.inf
) -> Outcome:
    """``highest`` and ``lowest`` are ratios that were there without any change."""
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
    """The runs behind the last step between two commits, in seconds and in multiples of the
    reference work alike: what shows in these alone is the machine's."""
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
            if seconds * multiples > 0:  # the same way
                return runs[place:]
    return runs


def _step(logs: Sequence[float], at: int) -> float:
    """How far all from ``at`` on lie on one side of the few before; 0 where they do not, or not
    far."""
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
    # Of a state of the machine that was there before a step alone nothing is known any more.
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
    """The logarithm of how much longer the rounds of one side take than those around them of the
    other; none where too few have one before and one behind.

    Both ways, since noise that only ever slows would favour the side whose rounds stand alone.
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
    """Benchmarks that earlier runs of the same selection have, and this one has not."""
    like = [before for before in earlier if before.selection == run.selection]
    names = dict.fromkeys(name for before in like for name in before.results)
    return [
        name
        for name in names
        if name not in run.results and sum(name in b.results for b in like) >= FEWEST_RUNS
    ]


def _group(name: str, runs: Iterable[BenchmarkRun]) -> str:
    groups = (run.results[name].group for run in runs if name in run.results)
    return next(filter(None, groups), "")  # a failed one may not have reported it
