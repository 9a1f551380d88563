"""The timer of pytest-benchmark, and what is done around each round outside of the timing."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from clsbench.bench.load import LoadMeter, Look
from round_client import RoundClient

METHOD = 2
"""The version of the timing method; increase it when the method changes, since times then
differ."""

ROUND_SECONDS = 0.1
"""The duration of a round, long enough to measure the load of other processes."""

_INTERLEAVED_ROUND_SECONDS = 0.01
"""The duration of an interleaved round.

On a shared machine, the speed of a core varies over some tens of milliseconds. Short rounds make
those of two alternating sides more alike.
"""

_LOAD_WINDOW_SECONDS = 0.25
"""The load during shorter rounds is measured over consecutive rounds of this total duration."""


class Round(NamedTuple):
    """The start of a round (seconds of the monotonic clock), the number of cores that other
    processes used, and the time of the reference work after it, if it was done."""

    started_seconds: float
    foreign_cores: float
    reference_seconds: float | None


class _Watched(NamedTuple):
    """A round, and the processor use during it."""

    started_seconds: float
    used: Look
    reference_seconds: float | None


class RoundTimer:
    """The timer of pytest-benchmark, called at the start and the end of each round.

    It measures the load of other processes during the round, and times the reference work
    afterwards, so that the speed of the machine itself is known for each round. If other processes
    time the same benchmarks, it requests each round from the server instead, and runs a function
    untimed first, since the other processes have replaced the cached data.
    """

    def __init__(self) -> None:
        self._meter = LoadMeter()
        self._before: Look | None = None
        self._started = 0.0
        self._first: Callable[[], object] | None = None
        self._watched: list[_Watched] = []
        self.client: RoundClient | None = None

    @property
    def round_seconds(self) -> float:
        """The minimum duration of a round in seconds."""
        return ROUND_SECONDS if self.client is None else _INTERLEAVED_ROUND_SECONDS

    @property
    def rounds(self) -> list[Round]:
        """All rounds since the last :meth:`reset`."""
        shortest = 0.0 if self.client is None else _LOAD_WINDOW_SECONDS
        return [
            Round(each.started_seconds, cores, each.reference_seconds)
            for window in _windows(self._watched, shortest)
            for cores in [self._foreign_cores(window)]
            for each in window
        ]

    @contextlib.contextmanager
    def together(self, benchmark: str, seconds: float) -> Iterator[float]:
        """Time a benchmark together with other processes, if there are any; yields the seconds per
        call that all assume, so that they time the same number of calls."""
        if self.client is None:
            yield seconds
        else:
            with self.client.at(benchmark, seconds) as agreed:
                yield agreed

    def reset(self, first: Callable[[], object] | None = None) -> None:
        """Start with a new round; ``first`` is run untimed before each round."""
        self._before, self._first = None, first
        self._watched.clear()

    def __call__(self) -> float:
        if self._before is None:
            if self.client is not None:
                self.client.begin()
                if self._first is not None:
                    self._first()
            self._before = self._meter.look()
            self._started = time.perf_counter()
            return self._started
        now = time.perf_counter()
        used = Look(*(b - a for a, b in zip(self._before, self._meter.look(), strict=True)))
        self._before = None
        if self.client is not None:
            self.client.end()
        reference = reference_seconds() if self.client is None else None
        self._watched.append(_Watched(self._started, used, reference))
        return now

    def _foreign_cores(self, window: Sequence[_Watched]) -> float:
        used = Look(*map(sum, zip(*(each.used for each in window), strict=True)))
        return self._meter.foreign_cores(Look(0.0, 0.0, 0.0), used)


def _windows(rounds: Sequence[_Watched], shortest_seconds: float) -> list[list[_Watched]]:
    """Groups of consecutive rounds that last so long together; the last group includes the rest."""
    windows: list[list[_Watched]] = []
    lasting = math.inf
    for each in rounds:
        if lasting > shortest_seconds:
            windows.append([])
            lasting = 0.0
        windows[-1].append(each)
        lasting += each.used.at_seconds
    if len(windows) > 1 and lasting < shortest_seconds:
        rest = windows.pop()
        windows[-1] += rest
    return windows


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """If torch uses one thread, keep it on one core, since the cores of a shared machine differ."""
    if not hasattr(os, "sched_setaffinity") or torch.get_num_threads() > 1:
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # the first has most interrupts to serve
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def reference_seconds() -> float:
    """Run the reference work: interpreted Python, and small matrix products in torch.

    Returns:
        The geometric mean of the two times, which weighs both equally.
    """
    interpreting, multiplying = _seconds(_interpret), _seconds(_multiply)
    return (interpreting * multiplying) ** 0.5


_MATRIX = torch.linspace(-1.0, 1.0, 64 * 64).reshape(64, 64)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _interpret() -> None:
    total = 0
    for number in range(60_000):
        total += number * number


def _multiply() -> None:
    with torch.no_grad():
        values = _MATRIX
        for _ in range(120):
            values = F.layer_norm(values @ _MATRIX, (64,))
