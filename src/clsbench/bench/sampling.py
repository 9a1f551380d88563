"""Time calls until their median is precise enough; all samples are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import torch
from scipy.special import bdtr

from clsbench.bench.gpu import GpuMeter, GpuReading, gpu_meter
from clsbench.bench.load import LoadMeter
from clsbench.bench.stopwatch import Stopwatch, stopwatch

FEWEST_SAMPLES = 6
"""With fewer no order statistics enclose the median with 95 % confidence."""

_CONFIDENCE = 0.95
_WARM_UP_WINDOW = 5
_WARM_UP_SECONDS = 0.5
_DRIFT = 0.05


class Workload(Protocol):
    """Something to be timed: what it is, how much of it a call does, and how to do it.

    ``examples`` texts go through a call, with ``real_tokens`` tokens of their own and
    ``padded_tokens`` positions in all. ``moved_bytes`` is what a call reads and writes in memory at
    least, 0 where that is not known. :meth:`setup` is called once before everything, :meth:`call`
    again and again, both ending with the device's work done; :meth:`teardown` at last.
    """

    name: str
    phase: str
    device: torch.device
    examples: int
    real_tokens: int
    padded_tokens: int
    moved_bytes: int

    def setup(self) -> None:
        """Have everything ready."""
        ...

    def call(self) -> None:
        """Do it once."""
        ...

    def teardown(self) -> None:
        """Leave everything as it was."""
        ...


class Rules(msgspec.Struct, frozen=True):
    """When it is enough, and what counts.

    Samples are taken until the 95 % interval of their median is within ``precision``
    (a fraction of it) on either side and ``fewest_samples`` are there (what lasts has had time to
    change), or ``budget_seconds`` are spent, warm-up included, but never fewer than
    :data:`FEWEST_SAMPLES`. A sample lasts ``sample_seconds`` at least, in as many calls
    as that takes, so that the load of other processes can be measured; it is dropped if they used
    more than ``load_limit_cores``.
    """

    precision: float = 0.02
    budget_seconds: float = 10.0
    sample_seconds: float = 0.1
    load_limit_cores: float = 0.15
    fewest_samples: int = 20


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """``calls`` calls in a row, ``seconds`` for each.

    ``foreign_cores`` is how many cores other processes kept busy meanwhile; the sample is ``quiet``
    if that is not above the limit. On a GPU, if reported: ``joules`` for each call, its clock
    afterwards, and what held it back.
    """

    calls: int
    seconds: float
    foreign_cores: float
    quiet: bool
    joules: float | None = None
    gpu_clock_mhz: int | None = None
    held_back_by: tuple[str, ...] = ()


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The median of seconds per call with its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def half_width_fraction(self) -> float:
        """How far the interval reaches to the farther side, as a fraction of the median."""
        if self.median <= 0:
            return math.inf
        return max(self.high - self.median, self.median - self.low) / self.median


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All samples in the order in which they were taken, the dropped ones too.

    ``seconds`` is ``None`` where fewer than :data:`FEWEST_SAMPLES` were quiet: not measured.
    ``stable``: whether times had settled when warming up ended, and stayed so.
    """

    samples: tuple[Sample, ...]
    warm_up_calls: int
    stable: bool
    seconds: Interval | None

    @property
    def counted(self) -> int:
        """The number of samples in the median: those without interference."""
        return len(self.samples) - self.dropped

    @property
    def dropped(self) -> int:
        """How many samples others disturbed."""
        return sum(not sample.quiet for sample in self.samples)


def take_samples(
    workload: Workload,
    rules: Rules,
    watch: Stopwatch | None = None,
    load: LoadMeter | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Warm a workload up that is set up, and time it by the rules.

    Raises:
        UnsynchronisedError: its call leaves work behind on the device.
    """
    watch = watch or stopwatch(workload.device)
    load = load or LoadMeter()
    started = clock()
    warm = warm_up(workload.call, watch, rules.budget_seconds / 4, clock)
    calls = calls_in_a_row(workload.call, watch, rules.sample_seconds, warm.seconds)
    gpu = gpu_meter(workload.device)
    samples: list[Sample] = []
    found: Interval | None = None
    while True:
        samples.append(_sample(workload, calls, watch, load, gpu, rules.load_limit_cores))
        quiet = [sample.seconds for sample in samples if sample.quiet]
        found = median_interval(quiet)
        enough = found is not None and len(quiet) >= rules.fewest_samples
        if enough and found is not None and found.half_width_fraction <= rules.precision:
            break
        if len(samples) >= FEWEST_SAMPLES and clock() - started >= rules.budget_seconds:
            break
    quiet = [sample.seconds for sample in samples if sample.quiet]
    return Timing(
        samples=tuple(samples),
        warm_up_calls=len(warm.seconds),
        stable=warm.settled and not _drifts(quiet),
        seconds=found,
    )


def median_interval(seconds: Sequence[float]) -> Interval | None:
    """The median between two order statistics, without any assumption about the distribution.

    ``seconds`` are in the order in which they were taken: if neighbours are
    correlated, they carry less information and the interval is wider.

    Source: the ranks enclose the median as often as a binomial variable falls between them; its
    spread grows by what correlation between neighbours adds to the variance of a mean.
    """
    count = len(seconds)
    if count < FEWEST_SAMPLES:
        return None
    ordered = np.sort(np.asarray(seconds))
    outside = (1 - _CONFIDENCE) / 2
    at_most = bdtr(np.arange(count), count, 0.5)  # how often so many samples lie below the median
    rank = int(np.searchsorted(at_most, outside, side="right")) - 1
    middle = (count - 1) / 2
    rank = max(math.floor(middle - (middle - rank) * _widening(np.asarray(seconds))), 0)
    return Interval(
        median=float(np.median(ordered)), low=float(ordered[rank]), high=float(ordered[-1 - rank])
    )


def _widening(seconds: np.ndarray) -> float:
    """How many times as far the ranks must reach, since neighbours are alike; 1 where they
    are not.

    Source: the bias of a correlation between neighbours, -(1 + 3ρ)/n, after Kendall, Biometrika 41
    (1954), 403.
    """
    sides = np.sign(seconds - np.median(seconds))
    alike = float((sides[1:] * sides[:-1]).sum() / max((sides**2).sum(), 1))
    alike += (1 + 3 * max(alike, 0.0)) / len(seconds)
    if alike <= 0:
        return 1.0
    # Of the same sides as often as neighbours of this correlation are (Gaussian).
    correlation = min(math.sin(min(alike, 1.0) * math.pi / 2), 0.95)
    return math.sqrt((1 + correlation) / (1 - correlation))


def calls_for(sample_seconds: float, seconds: Sequence[float]) -> int:
    """How many calls make a sample that is long enough, given the ``seconds`` of some calls."""
    latest = float(np.median(seconds[-_WARM_UP_WINDOW:]))
    return max(math.ceil(sample_seconds / max(latest, 1e-8)), 1)


def _drifts(seconds: Sequence[float]) -> bool:
    """Whether the first half of the samples differs from the second."""
    half = len(seconds) // 2
    if half < FEWEST_SAMPLES // 2:
        return False
    ratio = float(np.median(seconds[:half]) / np.median(seconds[-half:]))
    return not 1 - _DRIFT <= ratio <= 1 + _DRIFT


def calls_in_a_row(
    call: Callable[[], object], watch: Stopwatch, sample_seconds: float, seconds: Sequence[float]
) -> int:
    """How many calls make a sample that is long enough, tried: what is slow alone (``seconds`` of
    some calls) may be fast in a row."""
    calls = calls_for(sample_seconds, seconds)
    while True:
        taken = watch.seconds(call, calls)
        if taken >= sample_seconds / 2:
            return calls
        calls = max(calls_for(sample_seconds, [taken / calls]), calls + 1)


class WarmUp(NamedTuple):
    """The seconds of each call, and whether they are stable; for a single call that is unknown and
    left to the samples."""

    seconds: list[float]
    settled: bool


def warm_up(
    call: Callable[[], object],
    watch: Stopwatch,
    most_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Call for half a second at least, until the last few times are no shorter than the few before
    them, or time is up."""
    started = clock()
    seconds: list[float] = []
    while True:
        seconds.append(watch.seconds(call, 1))
        if len(seconds) >= 2 * _WARM_UP_WINDOW and clock() - started >= _WARM_UP_SECONDS:
            now = np.median(seconds[-_WARM_UP_WINDOW:])
            before = np.median(seconds[-2 * _WARM_UP_WINDOW : -_WARM_UP_WINDOW])
            if now >= 0.95 * before:
                return WarmUp(seconds, settled=True)
        if clock() - started >= most_seconds:  # long calls are few: use the last two
            return WarmUp(seconds, len(seconds) == 1 or seconds[-1] >= 0.95 * seconds[-2])


def _sample(
    workload: Workload,
    calls: int,
    watch: Stopwatch,
    load: LoadMeter,
    gpu: GpuMeter | None,
    limit_cores: float,
) -> Sample:
    gpu_before = gpu.read() if gpu is not None else _NOTHING
    before = load.look()
    seconds = watch.seconds(workload.call, calls)
    foreign_cores = load.foreign_cores(before, load.look())
    gpu_after = gpu.read() if gpu is not None else _NOTHING
    joules = None
    if gpu_before.joules is not None and gpu_after.joules is not None:
        joules = (gpu_after.joules - gpu_before.joules) / calls
    return Sample(
        calls=calls,
        seconds=seconds / calls,
        foreign_cores=foreign_cores,
        quiet=foreign_cores <= limit_cores,
        joules=joules,
        gpu_clock_mhz=gpu_after.clock_mhz,
        held_back_by=gpu_after.held_back_by,
    )


_NOTHING = GpuReading(None, (), None)
