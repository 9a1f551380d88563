"""Seconds that a call takes on its device, the work that it leaves behind included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

from clsbench.errors import ClsbenchError

_LEFT_SECONDS = 1e-4
_LEFT_FRACTION = 0.05
"""What waiting for an empty queue may take."""


class UnsynchronisedError(ClsbenchError):
    """A call returned while its device was still at work: its time would be too short."""


class Stopwatch(Protocol):
    """Times calls on one device."""

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Seconds that ``calls`` calls in a row take.

        Raises:
            UnsynchronisedError: the last of them returned before its work was done.
        """
        ...


class HostStopwatch:
    """For the CPU, where a call that returns has done its work: a monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of ``calls`` calls in a row."""
        started = self._clock()
        for _ in range(calls):
            call()
        return self._clock() - started


class CudaStopwatch:
    """For a GPU: the time between two events in its own queue of work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of ``calls`` calls in a row, by CUDA events."""
        torch.cuda.synchronize(self._device)
        stream = torch.cuda.current_stream(self._device)
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        before.record(stream)
        for _ in range(calls):
            call()
        _refuse(not stream.query())
        after.record(stream)
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000


class QueueStopwatch:
    """For devices with a queue of work but no events of ours (MPS): wait, and look at the clock."""

    def __init__(
        self, synchronise: Callable[[], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._synchronise = synchronise
        self._clock = clock

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of ``calls`` calls in a row, until the queue is empty."""
        self._synchronise()
        started = self._clock()
        for _ in range(calls):
            call()
        returned = self._clock()
        self._synchronise()
        ended = self._clock()
        _refuse(ended - returned > _LEFT_SECONDS + _LEFT_FRACTION * (returned - started))
        return ended - started


def _refuse(left_behind: bool) -> None:
    """Refuse a call that leaves work on the device."""
    if left_behind:
        raise UnsynchronisedError(
            "a workload returned while its device was still busy, so its time would be too short; "
            "its call must synchronize the device"
        )


def stopwatch(device: torch.device) -> Stopwatch:
    """The stopwatch for ``device``."""
    if device.type == "cuda":
        return CudaStopwatch(device)
    if device.type == "mps":
        return QueueStopwatch(torch.mps.synchronize)
    return HostStopwatch()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all of its work; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
