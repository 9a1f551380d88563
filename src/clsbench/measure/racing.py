"""Several ways of doing the same, timed side by side on a machine that others use too.

The ways take turns in one process, in an order that alternates; a sample in which other processes
kept the processor busy is dropped and counted; and each is compared with itself as well, which
shows how much of a difference is noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from clsbench.measure.load import LoadMeter
from clsbench.measure.sampling import calls_for
from clsbench.measure.stopwatch import HostStopwatch, Stopwatch

FEWEST_PAIRS = 5
"""With fewer quiet rounds nothing is said."""

NOTHING_BELOW = 0.05
"""The smallest difference that is claimed, as a fraction."""


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
    """``slow`` against ``fast``: the median of their ratios by round, with its 95 % interval (of a
    contender against itself, the ratio of the medians).

    Over ``pairs`` quiet rounds; with fewer than :data:`FEWEST_PAIRS` there is no ratio.
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
        fast_seconds, slow_seconds = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return _compared(fast, slow, fast_seconds, slow_seconds, _median_of_ratios, paired=True)

    def control(self, contender: str) -> Comparison:
        """The contender against itself: its even rounds against its odd ones."""
        halves: tuple[list[float], list[float]] = ([], [])
        for sample in self.samples:
            if sample.contender == contender and sample.quiet:
                halves[sample.round % 2].append(sample.seconds)
        return _compared(contender, contender, *halves, _ratio_of_medians, paired=False)


class RaceRules(NamedTuple):
    """How long and how strictly: ``rounds`` quiet rounds are wanted, within ``budget_seconds`` (but
    no fewer rounds than a comparison takes).

    A turn lasts ``sample_seconds`` at least, so that the load of others can be told.
    """

    rounds: int
    budget_seconds: float
    load_limit_cores: float
    sample_seconds: float


def race(
    contenders: Mapping[str, Callable[[], object]],
    rules: RaceRules,
    watch: Stopwatch | None = None,
) -> Race:
    """Let the contenders take turns until there are enough quiet rounds, or time is up.

    Each is warmed up first; how often one is called in a turn follows from that. ``watch`` is for
    a device other than the CPU.

    Raises:
        UnsynchronisedError: a call leaves work behind on the device.
    """
    started = time.perf_counter()
    watch = watch or HostStopwatch()
    calls = {name: _calls(call, rules.sample_seconds, watch) for name, call in contenders.items()}
    meter = LoadMeter()
    samples: list[Turn] = []
    number = quiet_rounds = 0
    while quiet_rounds < rules.rounds:
        names = list(contenders)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            samples.append(_turn(name, contenders[name], calls[name], number, watch, meter, rules))
        quiet_rounds += all(sample.quiet for sample in samples[-len(names) :])
        number += 1
        if number >= FEWEST_PAIRS and time.perf_counter() - started > rules.budget_seconds:
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


def _calls(call: Callable[[], object], sample_seconds: float, watch: Stopwatch) -> int:
    """Warm up, and find out how many calls make a turn that is long enough."""
    seconds: list[float] = []
    for _ in range(4):
        seconds.append(watch.seconds(call, 1))
        # The next may be faster than the first, but not by so much.
        if sum(seconds) > 4 * sample_seconds and (sample_seconds or len(seconds) > 1):
            break
    return calls_for(sample_seconds, seconds[1:] or seconds)


def _compared(
    fast: str,
    slow: str,
    fast_seconds: Sequence[float],
    slow_seconds: Sequence[float],
    statistic: Callable[..., np.ndarray],
    paired: bool,
) -> Comparison:
    pairs = min(len(fast_seconds), len(slow_seconds))
    if pairs < FEWEST_PAIRS:
        return Comparison(fast=fast, slow=slow, pairs=pairs)
    low, high = interval(statistic, (fast_seconds, slow_seconds), paired)
    return Comparison(
        fast=fast,
        slow=slow,
        pairs=pairs,
        fast_seconds=float(np.median(fast_seconds)),
        slow_seconds=float(np.median(slow_seconds)),
        ratio=float(statistic(np.asarray(fast_seconds), np.asarray(slow_seconds), -1)),
        low=low,
        high=high,
    )


def interval(
    statistic: Callable[..., np.ndarray], samples: Sequence[Sequence[float]], paired: bool = False
) -> tuple[float, float]:
    """The 95 % interval of a statistic of these samples, by the bootstrap (percentiles)."""
    from scipy import stats  # slow to load

    found = stats.bootstrap(
        tuple(np.asarray(sample) for sample in samples),
        statistic,
        paired=paired,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        random_state=np.random.default_rng(0),  # scipy from 1.15 on calls it rng as well
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _median_of_ratios(fast: np.ndarray, slow: np.ndarray, axis: int) -> np.ndarray:
    """What slows a round as a whole is in neither."""
    ratio: np.ndarray = np.exp(np.median(np.log(slow / fast), axis=axis))
    return ratio


def _ratio_of_medians(fast: np.ndarray, slow: np.ndarray, axis: int) -> np.ndarray:
    ratio: np.ndarray = np.median(slow, axis=axis) / np.median(fast, axis=axis)
    return ratio
