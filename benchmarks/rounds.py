"""What is done around each round of pytest-benchmark, outside of what is timed."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

from clsbench.measure.load import LoadMeter, Look


class Round(NamedTuple):
    """When a round began (seconds of the machine's monotonic clock), how many cores others kept
    busy meanwhile, and how long the reference work took right after it."""

    started_seconds: float
    foreign_cores: float
    reference_seconds: float


class RoundTimer:
    """pytest-benchmark's timer, asked at either end of a round.

    It waits for its turn before a round, if there are others to take turns with, watches what
    others do meanwhile, and times the reference work afterwards: always the same, so that how fast
    the machine is itself is known for each round.
    """

    def __init__(self) -> None:
        self._meter = LoadMeter()
        self._before: Look | None = None
        self._started = 0.0
        self.turn: Turn | None = None
        self.rounds: list[Round] = []

    def reset(self) -> None:
        """Begin with a round, whatever became of the last."""
        self._before = None
        self.rounds.clear()

    def __call__(self) -> float:
        if self._before is None:
            if self.turn is not None:
                self.turn.begin()
            self._before = self._meter.look()
            self._started = time.perf_counter()
            return self._started
        now = time.perf_counter()
        foreign_cores = self._meter.foreign_cores(self._before, self._meter.look())
        self._before = None
        self.rounds.append(Round(self._started, foreign_cores, reference_seconds()))
        if self.turn is not None:
            self.turn.end()
        return now


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


class Turn:
    """The right to time a round, as ``clsbench bench check --against`` gives it at ``address``."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server = socket.create_connection((host, int(port)))

    def begin(self) -> None:
        """Wait for it."""
        self._server.sendall(b"?")
        if not self._server.recv(1):
            raise ConnectionError("whoever gives the turns is gone")

    def end(self) -> None:
        """Let the next one begin."""
        self._server.sendall(b".")


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
