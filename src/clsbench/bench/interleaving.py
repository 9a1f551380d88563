"""Compare implementations by interleaved timing on a machine that other processes use too.

The contenders alternate in one process. Samples disturbed by other processes are dropped and
counted. Each contender is also compared with itself, which shows the noise level.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from clsbench.bench.load import LoadMeter
from clsbench.bench.sampling import (
    FEWEST_SAMPLES,
    Interval,
    calls_in_a_row,
    median_interval,
    warm_up,
)
from clsbench.bench.stopwatch import HostStopwatch, Stopwatch

FEWEST_PAIRS = FEWEST_SAMPLES
"""The minimum number of quiet rounds for a result."""

NOTHING_BELOW = 0.05
"""The smallest difference that is reported, as a fraction."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: ``calls`` calls in a row, ``seconds`` for each of them.

    ``foreign_cores`` is how many cores other processes kept busy meanwhile; the sample is ``quiet``
    if that is not above the limit.
    """

    contender: str
    round: int
    calls: int
    seconds: float
    foreign_cores: float
    quiet: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``slow`` against ``fast``: the median of their ratios by round, with its 95 % interval.

    Over ``pairs`` quiet rounds (of a contender against itself: pairs of them); with fewer than
    :data:`FEWEST_PAIRS` the ratio is ``None``.
    """

    fast: str
    slow: str
    pairs: int
    fast_seconds: float | None = None
    slow_seconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def measured(self) -> bool:
        """Whether there were enough quiet rounds to say anything."""
        return self.ratio is not None

    @property
    def differs(self) -> bool:
        """Whether the whole interval lies beyond what is claimed at all."""
        if self.low is None or self.high is None:
            return False
        return self.low > 1 + NOTHING_BELOW or self.high < 1 / (1 + NOTHING_BELOW)


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """All samples of a race, the dropped ones too; ``calls`` by contender."""

    samples: list[Turn]
    rounds: int
    quiet_rounds: int
    dropped: int
    load_limit_cores: float

    def quiet_seconds(self, contender: str) -> list[float]:
        """Seconds per call of every quiet sample."""
        return [s.seconds for s in self.samples if s.contender == contender and s.quiet]

    def compare(self, fast: str, slow: str) -> Comparison:
        """The two in the rounds in which both were quiet."""
        by_round: dict[int, dict[str, float]] = {}
        for sample in self.samples:
            if sample.quiet:
                by_round.setdefault(sample.round, {})[sample.contender] = sample.seconds
        pairs = [(r[fast], r[slow]) for r in by_round.values() if fast in r and slow in r]
        return _compared(fast, slow, pairs)

    def control(self, contender: str) -> Comparison:
        """The contender against itself: of its quiet samples the first against the second, the
        third against the fourth, and so on."""
        seconds = self.quiet_seconds(contender)
        return _compared(contender, contender, [*zip(seconds[::2], seconds[1::2], strict=False)])


class RaceRules(NamedTuple):
    """How long and how strictly: ``rounds`` quiet rounds are wanted, within ``budget_seconds``, of
    which up to a quarter warms up (but no fewer rounds than a comparison takes).

    A turn lasts ``sample_seconds``, so that the load of other processes can be measured.
    """

    rounds: int
    budget_seconds: float
    load_limit_cores: float
    sample_seconds: float


def race(
    contenders: Mapping[str, Callable[[], object]],
    rules: RaceRules,
    watch: Stopwatch | None = None,
    meter: LoadMeter | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Race:
    """Let the contenders take turns until there are enough quiet rounds, or time is up.

    Each is warmed up first until its times settle; how often one is called in a turn follows from
    that. ``watch`` is for a device other than the CPU.

    Raises:
        UnsynchronisedError: a call leaves work behind on the device.
    """
    started = clock()
    watch = watch or HostStopwatch()
    share = rules.budget_seconds / 4 / len(contenders)
    calls = {}
    for name, call in contenders.items():
        warm = warm_up(call, watch, share, clock)
        calls[name] = calls_in_a_row(call, watch, rules.sample_seconds, warm.seconds)
    meter = meter or LoadMeter()
    samples: list[Turn] = []
    number = quiet_rounds = 0
    while quiet_rounds < rules.rounds:
        names = list(contenders)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            samples.append(_turn(name, contenders[name], calls[name], number, watch, meter, rules))
        quiet_rounds += all(sample.quiet for sample in samples[-len(names) :])
        number += 1
        if number >= FEWEST_PAIRS and clock() - started > rules.budget_seconds:
            break
    return Race(
        samples=samples,
        rounds=number,
        quiet_rounds=quiet_rounds,
        dropped=sum(not sample.quiet for sample in samples),
        load_limit_cores=rules.load_limit_cores,
    )


def _turn(
    name: str,
    call: Callable[[], object],
    calls: int,
    number: int,
    watch: Stopwatch,
    meter: LoadMeter,
    rules: RaceRules,
) -> Turn:
    if calls > 1:  # what others left in the caches is none of its time
        watch.seconds(call, 1)
    before = meter.look()
    seconds = watch.seconds(call, calls)
    load = meter.foreign_cores(before, meter.look())
    return Turn(
        contender=name,
        round=number,
        calls=calls,
        seconds=seconds / calls,
        foreign_cores=load,
        quiet=load <= rules.load_limit_cores,
    )


def _compared(fast: str, slow: str, pairs: Sequence[tuple[float, float]]) -> Comparison:
    """``pairs`` are seconds of the fast and the slow side, in the order of time."""
    found = ratio_interval(pairs)
    if found is None:
        return Comparison(fast=fast, slow=slow, pairs=len(pairs))
    return Comparison(
        fast=fast,
        slow=slow,
        pairs=len(pairs),
        fast_seconds=float(np.median([pair[0] for pair in pairs])),
        slow_seconds=float(np.median([pair[1] for pair in pairs])),
        ratio=found.median,
        low=found.low,
        high=found.high,
    )


def ratio_interval(pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """The median of how many times as long the second of a pair takes as the first.

    What slows a round as a whole is in neither. ``None`` for fewer than :data:`FEWEST_PAIRS`.
    """
    found = median_interval([math.log(slow / fast) for fast, slow in pairs])
    if found is None:
        return None
    return Interval(
        median=math.exp(found.median), low=math.exp(found.low), high=math.exp(found.high)
    )


def interval(
    statistic: Callable[..., np.ndarray], samples: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """The 95 % interval of a statistic of these samples, by the bootstrap (percentiles): an
    approximation, for what has no order statistics."""
    from scipy import stats  # slow to load

    found = stats.bootstrap(
        tuple(np.asarray(sample) for sample in samples),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        random_state=np.random.default_rng(0),  # scipy from 1.15 on calls it rng as well
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
