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
"""The minimum for a 95 % interval of the median from order statistics."""

_CONFIDENCE = 0.95
_WARM_UP_WINDOW = 5
_WARM_UP_SECONDS = 0.5
_DRIFT = 0.05


class Workload(Protocol):
    """A workload to time.

    A call processes ``examples`` texts with ``real_tokens`` tokens and ``padded_tokens`` positions
    in total. ``moved_bytes`` is the minimum memory traffic of a call, 0 if unknown. :meth:`setup`
    is called once before timing, :meth:`call` repeatedly, :meth:`teardown` at the end. Setup and
    calls return when the device has finished.
    """

    name: str
    phase: str
    device: torch.device
    examples: int
    real_tokens: int
    padded_tokens: int
    moved_bytes: int

    def setup(self) -> None:
        """Prepare the workload."""
        ...

    def call(self) -> None:
        """Run the workload once."""
        ...

    def teardown(self) -> None:
        """Restore the previous state."""
        ...


class Rules(msgspec.Struct, frozen=True):
    """When to stop sampling, and which samples count.

    Sampling stops when the 95 % interval of the median is within ``precision`` (a fraction of the
    median) on either side and there are ``fewest_samples``, or when ``budget_seconds``, warm-up
    included, are spent; but not before :data:`FEWEST_SAMPLES`. A sample consists of as many calls
    as fill ``sample_seconds``, so that the load of other processes can be measured; it is dropped
    if they used more than ``load_limit_cores``.
    """

    precision: float = 0.02
    budget_seconds: float = 10.0
    sample_seconds: float = 0.1
    load_limit_cores: float = 0.15
    fewest_samples: int = 20


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of ``calls`` consecutive calls, with ``seconds`` per call.

    ``foreign_cores`` is the number of cores that other processes used meanwhile; the sample is
    ``quiet`` if that is within the limit. On a GPU, if reported: ``joules`` per call, the clock
    afterwards, and the reasons for throttling.
    """

    calls: int
    seconds: float
    foreign_cores: float
    quiet: bool
    joules: float | None = None
    gpu_clock_mhz: int | None = None
    held_back_by: tuple[str, ...] = ()


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The median of seconds per call, with its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def half_width_fraction(self) -> float:
        """The larger distance from the median to an end of the interval, as a fraction of the
        median."""
        if self.median <= 0:
            return math.inf
        return max(self.high - self.median, self.median - self.low) / self.median


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """All samples in order of time, including dropped ones.

    ``seconds`` is ``None`` (not measured) if fewer than :data:`FEWEST_SAMPLES` were quiet.
    ``stable``: whether times were stable at the end of the warm-up and stayed so.
    """

    samples: tuple[Sample, ...]
    warm_up_calls: int
    stable: bool
    seconds: Interval | None

    @property
    def counted(self) -> int:
        """The number of undisturbed samples, which the median uses."""
        return len(self.samples) - self.dropped

    @property
    def dropped(self) -> int:
        """The number of disturbed samples."""
        return sum(not sample.quiet for sample in self.samples)


def take_samples(
    workload: Workload,
    rules: Rules,
    watch: Stopwatch | None = None,
    load: LoadMeter | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Warm up a workload that has been set up, and time it.

    Raises:
        UnsynchronisedError: its call returns before its work on the device is done.
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
    at_most = bdtr(np.arange(count), count, 0.5)  # the number of samples below the median
    rank = int(np.searchsorted(at_most, outside, side="right")) - 1
    middle = (count - 1) / 2
    rank = max(math.floor(middle - (middle - rank) * _widening(np.asarray(seconds))), 0)
    return Interval(
        median=float(np.median(ordered)), low=float(ordered[rank]), high=float(ordered[-1 - rank])
    )


def _widening(seconds: np.ndarray) -> float:
    """The factor by which autocorrelation widens the range of ranks; 1 without it.

    Source: the bias of an autocorrelation, -(1 + 3ρ)/n, after Kendall, Biometrika 41 (1954), 403.
    """
    sides = np.sign(seconds - np.median(seconds))
    alike = float((sides[1:] * sides[:-1]).sum() / max((sides**2).sum(), 1))
    alike += (1 + 3 * max(alike, 0.0)) / len(seconds)
    if alike <= 0:
        return 1.0
    # The correlation of signs corresponds to this correlation of Gaussian values.
    correlation = min(math.sin(min(alike, 1.0) * math.pi / 2), 0.95)
    return math.sqrt((1 + correlation) / (1 - correlation))


def calls_for(sample_seconds: float, seconds: Sequence[float]) -> int:
    """The number of calls that fill a sample, given the ``seconds`` of some calls."""
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
    """The number of calls that fill a sample, found by trying.

    Consecutive calls may be faster than the single ones that took ``seconds``.
    """
    calls = calls_for(sample_seconds, seconds)
    while True:
        taken = watch.seconds(call, calls)
        if taken >= sample_seconds / 2:
            return calls
        calls = max(calls_for(sample_seconds, [taken / calls]), calls + 1)


class WarmUp(NamedTuple):
    """The seconds of each call, and whether they are stable (assumed for a single call)."""

    seconds: list[float]
    settled: bool


def warm_up(
    call: Callable[[], object],
    watch: Stopwatch,
    most_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Call for at least half a second, until the last times are not shorter than those before, or
    the time is up."""
    started = clock()
    seconds: list[float] = []
    while True:
        seconds.append(watch.seconds(call, 1))
        if len(seconds) >= 2 * _WARM_UP_WINDOW and clock() - started >= _WARM_UP_SECONDS:
            now = np.median(seconds[-_WARM_UP_WINDOW:])
            before = np.median(seconds[-2 * _WARM_UP_WINDOW : -_WARM_UP_WINDOW])
            if now >= 0.95 * before:
                return WarmUp(seconds, settled=True)
        if clock() - started >= most_seconds:  # with few, long calls, use the last two
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
