"""Timing several ways of doing the same, side by side, on a machine that others use too.

The ways take turns in one process, in an order that alternates; a sample in which other processes
kept the processor busy is dropped and counted; and each is compared with itself as well, which
shows how much of a difference is noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
from scipy import stats

FEWEST_PAIRS = 5
"""With fewer quiet rounds nothing is said."""

NOTHING_BELOW = 0.05
"""The smallest difference that is claimed, as a fraction."""

_MOST_CALLS = 2000


class Sample(msgspec.Struct, frozen=True, kw_only=True):
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
    """``slow`` against ``fast``: the ratio of the medians with its 95 % interval.

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
        return self.ratio is not None

    @property
    def differs(self) -> bool:
        """Whether the whole interval lies beyond what is claimed at all."""
        if self.low is None or self.high is None:
            return False
        return self.low > 1 + NOTHING_BELOW or self.high < 1 / (1 + NOTHING_BELOW)


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """All samples of a race, the dropped ones too; ``calls`` by contender."""

    samples: list[Sample]
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
        return _compared(
            fast, slow, [pair[0] for pair in pairs], [pair[1] for pair in pairs], paired=True
        )

    def control(self, contender: str) -> Comparison:
        """The contender against itself: its even rounds against its odd ones."""
        halves: tuple[list[float], list[float]] = ([], [])
        for sample in self.samples:
            if sample.contender == contender and sample.quiet:
                halves[sample.round % 2].append(sample.seconds)
        return _compared(contender, contender, *halves, paired=False)


class LoadMeter:
    """How many cores processes other than this one keep busy, between two looks."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def look(self) -> tuple[float, float, float]:
        """Now, CPU seconds of everybody so far, and of this process with its children."""
        everybody = psutil.cpu_times()._asdict()
        # Guests are counted as users already; stolen time is that of other machines.
        idle = ("idle", "iowait", "guest", "guest_nice")
        busy = sum(seconds for name, seconds in everybody.items() if name not in idle)
        own = self._process.cpu_times()
        mine = own.user + own.system + own.children_user + own.children_system
        return time.perf_counter(), busy, mine

    def foreign_cores(
        self, before: tuple[float, float, float], after: tuple[float, float, float]
    ) -> float:
        """Cores of others, never negative: the system counts in steps of 10 ms."""
        wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else math.inf


class Rules(NamedTuple):
    """How long and how strictly: ``rounds`` quiet rounds are wanted, within ``budget_seconds``.

    A turn lasts ``sample_seconds`` at least, so that the load of others can be told.
    """

    rounds: int
    budget_seconds: float
    load_limit_cores: float
    sample_seconds: float


def race(contenders: Mapping[str, Callable[[], object]], rules: Rules) -> Race:
    """Let the contenders take turns until there are enough quiet rounds, or time is up.

    Each is warmed up first; how often one is called in a turn follows from that.
    """
    started = time.perf_counter()
    calls = {name: _calls(call, rules.sample_seconds) for name, call in contenders.items()}
    meter = LoadMeter()
    samples: list[Sample] = []
    number = quiet_rounds = 0
    while quiet_rounds < rules.rounds:
        names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in names:
            samples.append(_sample(name, contenders[name], calls[name], number, meter, rules))
        quiet_rounds += all(sample.quiet for sample in samples[-len(names) :])
        number += 1
        if time.perf_counter() - started > rules.budget_seconds:
            break
    return Race(
        samples=samples,
        rounds=number,
        quiet_rounds=quiet_rounds,
        dropped=sum(not sample.quiet for sample in samples),
        load_limit_cores=rules.load_limit_cores,
    )


def _sample(
    name: str, call: Callable[[], object], calls: int, number: int, meter: LoadMeter, rules: Rules
) -> Sample:
    before = meter.look()
    for _ in range(calls):
        call()
    after = meter.look()
    load = meter.foreign_cores(before, after)
    return Sample(
        contender=name,
        round=number,
        calls=calls,
        seconds=(after[0] - before[0]) / calls,
        foreign_cores=load,
        quiet=load <= rules.load_limit_cores,
    )


def _calls(call: Callable[[], object], sample_seconds: float) -> int:
    """Warm up, and find out how many calls make a turn that is long enough."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        call()
        seconds = time.perf_counter() - started
        if seconds > 4 * sample_seconds > 0:  # the next may be faster, but not by so much
            break
    return min(max(math.ceil(sample_seconds / max(seconds, 1e-9)), 1), _MOST_CALLS)


def _compared(
    fast: str, slow: str, fast_seconds: Sequence[float], slow_seconds: Sequence[float], paired: bool
) -> Comparison:
    pairs = min(len(fast_seconds), len(slow_seconds))
    if pairs < FEWEST_PAIRS:
        return Comparison(fast=fast, slow=slow, pairs=pairs)
    low, high = interval(_ratio_of_medians, (fast_seconds, slow_seconds), paired)
    return Comparison(
        fast=fast,
        slow=slow,
        pairs=pairs,
        fast_seconds=float(np.median(fast_seconds)),
        slow_seconds=float(np.median(slow_seconds)),
        ratio=float(np.median(slow_seconds) / np.median(fast_seconds)),
        low=low,
        high=high,
    )


def interval(
    statistic: Callable[..., np.ndarray], samples: Sequence[Sequence[float]], paired: bool = False
) -> tuple[float, float]:
    """The 95 % interval of a statistic of these samples, by the bootstrap (percentiles)."""
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


def _ratio_of_medians(fast: np.ndarray, slow: np.ndarray, axis: int) -> np.ndarray:
    ratio: np.ndarray = np.median(slow, axis=axis) / np.median(fast, axis=axis)
    return ratio
