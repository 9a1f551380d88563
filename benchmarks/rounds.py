"""What is done around each round of pytest-benchmark, outside of what is timed."""

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
from turn import Turn

METHOD = 2
"""What is timed otherwise is another machine: more by one whenever the way of timing changes."""

ROUND_SECONDS = 0.1
"""Long enough to measure the load of other processes in each round."""

_SECONDS_OF_A_TURN = 0.01
"""On a shared machine a core is slower for some tens of milliseconds and fast again: the shorter
the rounds, the more alike are those of two sides that follow one another."""

_SECONDS_TO_TELL_LOAD = 0.25
"""The load in shorter rounds is measured over as many in a row as last that long together."""


class Round(NamedTuple):
    """When a round began (seconds of the machine's monotonic clock), how many cores others kept
    busy meanwhile, and how long the reference work took right after it, if it was done."""

    started_seconds: float
    foreign_cores: float
    reference_seconds: float | None


class _Watched(NamedTuple):
    """A round, and what was used while it lasted."""

    started_seconds: float
    used: Look
    reference_seconds: float | None


class RoundTimer:
    """pytest-benchmark's timer, asked at either end of a round.

    It watches what others do meanwhile, and times the reference work afterwards: always the same,
    so that how fast the machine is itself is known for each round. Where there are others to take
    turns with, it waits for its turn before a round instead, and lets something be done untimed
    first: what the others left in the caches is none of its time.
    """

    def __init__(self) -> None:
        self._meter = LoadMeter()
        self._before: Look | None = None
        self._started = 0.0
        self._first: Callable[[], object] | None = None
        self._watched: list[_Watched] = []
        self.turn: Turn | None = None

    @property
    def round_seconds(self) -> float:
        """How long a round is to last, at least."""
        return ROUND_SECONDS if self.turn is None else _SECONDS_OF_A_TURN

    @property
    def rounds(self) -> list[Round]:
        """All since the last :meth:`reset`."""
        shortest = 0.0 if self.turn is None else _SECONDS_TO_TELL_LOAD
        return [
            Round(each.started_seconds, cores, each.reference_seconds)
            for window in _windows(self._watched, shortest)
            for cores in [self._foreign_cores(window)]
            for each in window
        ]

    @contextlib.contextmanager
    def together(self, benchmark: str, seconds: float) -> Iterator[float]:
        """Be at a benchmark with the others, if there are any: what all take a call to last, so
        that they time as many in as many rounds."""
        if self.turn is None:
            yield seconds
        else:
            with self.turn.at(benchmark, seconds) as agreed:
                yield agreed

    def reset(self, first: Callable[[], object] | None = None) -> None:
        """Begin with a round, whatever became of the last; ``first`` is done in every turn before
        it is timed."""
        self._before, self._first = None, first
        self._watched.clear()

    def __call__(self) -> float:
        if self._before is None:
            if self.turn is not None:
                self.turn.begin()
                if self._first is not None:
                    self._first()
            self._before = self._meter.look()
            self._started = time.perf_counter()
            return self._started
        now = time.perf_counter()
        used = Look(*(b - a for a, b in zip(self._before, self._meter.look(), strict=True)))
        self._before = None
        if self.turn is not None:
            self.turn.end()
        reference = reference_seconds() if self.turn is None else None
        self._watched.append(_Watched(self._started, used, reference))
        return now

    def _foreign_cores(self, window: Sequence[_Watched]) -> float:
        used = Look(*map(sum, zip(*(each.used for each in window), strict=True)))
        return self._meter.foreign_cores(Look(0.0, 0.0, 0.0), used)


def _windows(rounds: Sequence[_Watched], shortest_seconds: float) -> list[list[_Watched]]:
    """The rounds in a row, as many in each as last so long together, and the rest in the last."""
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
    """Where torch computes with one thread, always on the same core: on a shared machine cores are
    not alike, and each process would time its own."""
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
    """Do the reference work: what the interpreter does, and what torch does with small matrices.

    Returns:
        The geometric mean of the two times, so that both weigh the same.
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
