"""Measure the time of a call, including the work that it leaves on its device."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

import torch

from clsbench.errors import ClsbenchError

_LEFT_SECONDS = 1e-4
_LEFT_FRACTION = 0.05
"""The time that waiting for an empty queue may take."""


class UnsynchronisedError(ClsbenchError):
    """A call returned before its device had finished, so its time would be too short."""


class Stopwatch(Protocol):
    """Times calls on one device."""

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """The time of ``calls`` consecutive calls, in seconds.

        Raises:
            UnsynchronisedError: the last call returned before its work was done.
        """
        ...


class HostStopwatch:
    """A monotonic clock, for the CPU, where calls return when their work is done."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """The time of ``calls`` consecutive calls, in seconds."""
        started = self._clock()
        for _ in range(calls):
            call()
        return self._clock() - started


class CudaStopwatch:
    """CUDA events in the device's queue, for GPUs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """The time of ``calls`` consecutive calls by CUDA events, in seconds."""
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
    """A monotonic clock that waits for the device, for devices with a queue but no events (MPS)."""

    def __init__(
        self, synchronise: Callable[[], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._synchronise = synchronise
        self._clock = clock

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """The time of ``calls`` consecutive calls until the queue is empty, in seconds."""
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
    """Raise an error if a call has left work on the device."""
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


def undisturbed_stopwatch(device: torch.device) -> Stopwatch:
    """A stopwatch that leaves out the time in which other processes have the processor.

    On the CPU it counts the processor time of the calling thread, which takes part in all of a
    call's work. On Windows, whose processor times are too coarse, and for devices with a queue it
    is :func:`stopwatch`.
    """
    if device.type == "cpu" and sys.platform != "win32":
        return HostStopwatch(time.thread_time)
    return stopwatch(device)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all of its work; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
