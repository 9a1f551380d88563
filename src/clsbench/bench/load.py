"""The load that other processes put on this machine while something is timed."""

from __future__ import annotations

import math
import os
import time
from typing import NamedTuple

import psutil


class Look(NamedTuple):
    """The state of the processors at one moment: seconds of CPU, of everybody and of ourselves."""

    at_seconds: float
    busy_seconds: float
    own_seconds: float


class LoadMeter:
    """How many cores other processes keep busy between two looks.

    A child counts as this process once it has ended and was waited for, before that as another.
    """

    def look(self) -> Look:
        """The state of the processors now."""
        everybody = psutil.cpu_times()._asdict()
        # Guests are counted as users already; stolen time is that of other machines.
        idle = ("idle", "iowait", "guest", "guest_nice")
        busy = sum(seconds for name, seconds in everybody.items() if name not in idle)
        ended = os.times()
        own = time.process_time() + ended.children_user + ended.children_system
        return Look(time.perf_counter(), busy, own)

    def foreign_cores(self, before: Look, after: Look) -> float:
        """Cores of others, never negative: the system counts in steps of 10 ms."""
        wall, busy, own = (b - a for a, b in zip(before, after, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else math.inf
