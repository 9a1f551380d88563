"""Measure the peak memory of a call: of torch's tensors and of the process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import torch
from torch.profiler import ProfilerActivity, profile

_CLEAR_PEAK = "5"  # proc(5): resets the high-water mark of resident memory


class PeakMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Peak bytes of one call.

    ``allocated``: the peak of torch's allocator during the call, minus what was allocated before.
    ``resident``: the peak resident memory of the process on the host; ``None`` if the system cannot
    measure it per call.
    """

    allocated: int
    resident: int | None


def peak_memory(call: Callable[[], object], device: torch.device) -> PeakMemory:
    """Run the call once more and measure its memory."""
    resets = reset_resident_peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        allocated = torch.cuda.max_memory_allocated(device) - before
        return PeakMemory(allocated=allocated, resident=resident_peak() if resets else None)
    call()
    resident = resident_peak() if resets else None
    return PeakMemory(allocated=_allocated_on_host(call), resident=resident)


def _allocated_on_host(call: Callable[[], object]) -> int:
    """The peak of the host allocator, from its recorded allocations and releases."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        call()
    events = watched.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    most = now = 0
    for _, change_bytes in sorted(changes, key=lambda change: change[0]):
        now += change_bytes
        most = max(most, now)
    return most


def reset_resident_peak() -> bool:
    """Reset the high-water mark that :func:`resident_peak` reads, if the system supports it."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
        return True
    return False


def resident_peak() -> int | None:
    """The peak resident memory of the process since the reset, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss
