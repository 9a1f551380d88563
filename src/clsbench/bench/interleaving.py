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


class InterleavedSample(msgspec.Struct, frozen=True, kw_only=True):
    """A timed sample of ``calls`` consecutive calls, with ``seconds`` per call.

    ``foreign_cores`` is the number of cores that other processes used meanwhile; the sample is
    ``quiet`` if that is within the limit.
    """

    contender: str
    round: int
    calls: int
    seconds: float
    foreign_cores: float
    quiet: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``slow`` relative to ``fast``: the median ratio per round, with its 95 % interval.

    ``pairs`` is the number of quiet rounds (of quiet pairs of samples, for a contender against
    itself). With fewer than :data:`FEWEST_PAIRS`, the ratio is ``None``.
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
        """Whether there were enough quiet rounds for a result."""
        return self.ratio is not None

    @property
    def differs(self) -> bool:
        """Whether the whole interval is outside the range of differences that are not reported."""
        if self.low is None or self.high is None:
            return False
        return self.low > 1 + NOTHING_BELOW or self.high < 1 / (1 + NOTHING_BELOW)


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """All samples, including dropped ones."""

    samples: list[InterleavedSample]
    rounds: int
    quiet_rounds: int
    dropped: int
    load_limit_cores: float

    def quiet_seconds(self, contender: str) -> list[float]:
        """Seconds per call of all quiet samples."""
        return [s.seconds for s in self.samples if s.contender == contender and s.quiet]

    def compare(self, fast: str, slow: str) -> Comparison:
        """Compare two contenders over the rounds in which both were quiet."""
        by_round: dict[int, dict[str, float]] = {}
        for sample in self.samples:
            if sample.quiet:
                by_round.setdefault(sample.round, {})[sample.contender] = sample.seconds
        pairs = [(r[fast], r[slow]) for r in by_round.values() if fast in r and slow in r]
        return _compared(fast, slow, pairs)

    def control(self, contender: str) -> Comparison:
        """Compare a contender with itself: its first quiet sample with the second, the third with
        the fourth, and so on."""
        seconds = self.quiet_seconds(contender)
        return _compared(contender, contender, [*zip(seconds[::2], seconds[1::2], strict=False)])


class RaceRules(NamedTuple):
    """The rules of interleaved timing.

    ``rounds`` is the target number of quiet rounds within ``budget_seconds``; up to a quarter of
    the budget is used for warm-up. The minimum number of rounds is run in any case. A sample lasts
    ``sample_seconds``, so that the load of other processes can be measured.
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
    """Time the contenders alternately until there are enough quiet rounds, or the budget is spent.

    Each contender is warmed up until its times are stable, which also determines the calls per
    sample. ``watch`` is for devices other than the CPU.

    Raises:
        UnsynchronisedError: a call returns before its work on the device is done.
    """
    started = clock()
    watch = watch or HostStopwatch()
    share = rules.budget_seconds / 4 / len(contenders)
    calls = {}
    for name, call in contenders.items():
        warm = warm_up(call, watch, share, clock)
        calls[name] = calls_in_a_row(call, watch, rules.sample_seconds, warm.seconds)
    meter = meter or LoadMeter()
    samples: list[InterleavedSample] = []
    number = quiet_rounds = 0
    while quiet_rounds < rules.rounds:
        names = list(contenders)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            samples.append(
                _timed_sample(name, contenders[name], calls[name], number, watch, meter, rules)
            )
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


def _timed_sample(
    name: str,
    call: Callable[[], object],
    calls: int,
    number: int,
    watch: Stopwatch,
    meter: LoadMeter,
    rules: RaceRules,
) -> InterleavedSample:
    if calls > 1:  # a warm-up call, since other contenders have replaced the cached data
        watch.seconds(call, 1)
    before = meter.look()
    seconds = watch.seconds(call, calls)
    load = meter.foreign_cores(before, meter.look())
    return InterleavedSample(
        contender=name,
        round=number,
        calls=calls,
        seconds=seconds / calls,
        foreign_cores=load,
        quiet=load <= rules.load_limit_cores,
    )


def _compared(fast: str, slow: str, pairs: Sequence[tuple[float, float]]) -> Comparison:
    """Compare ``pairs`` of seconds of the fast and the slow side, in order of time."""
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
    """The median ratio of the second to the first of each pair; ``None`` for fewer than
    :data:`FEWEST_PAIRS`.

    A disturbance that slows down a whole round cancels out.
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
    """The bootstrap (percentile) 95 % interval of a statistic of these samples.

    Approximate; for statistics without an exact interval from order statistics.
    """
    from scipy import stats  # slow to load

    found = stats.bootstrap(
        tuple(np.asarray(sample) for sample in samples),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        random_state=np.random.default_rng(0),  # called rng since scipy 1.15
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
