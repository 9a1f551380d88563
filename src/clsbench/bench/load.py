"""Measure the CPU load of other processes during timing."""

from __future__ import annotations

import math
import os
import time
from typing import NamedTuple

import psutil


class Look(NamedTuple):
    """Processor times at one moment: CPU seconds of all processes, and of this one."""

    at_seconds: float
    busy_seconds: float
    own_seconds: float


class LoadMeter:
    """Measures the number of cores that other processes use between two snapshots.

    A child process counts as this process once it has ended and was waited for, before that as
    another.
    """

    def look(self) -> Look:
        """The current state of the processors."""
        everybody = psutil.cpu_times()._asdict()
        # Guest time is included in user time; stolen time belongs to other machines.
        idle = ("idle", "iowait", "guest", "guest_nice")
        busy = sum(seconds for name, seconds in everybody.items() if name not in idle)
        ended = os.times()
        own = time.process_time() + ended.children_user + ended.children_system
        return Look(time.perf_counter(), busy, own)

    def foreign_cores(self, before: Look, after: Look) -> float:
        """Cores used by others; at least 0, since the system counts in steps of 10 ms."""
        wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else math.inf
