"""A clock that tests advance, and stopwatches that read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clsbench.bench.load import LoadMeter, Look


class Clock:
    """Time that passes only when a test advances it."""

    def __init__(self) -> None:
        self.now_seconds = 0.0

    def __call__(self) -> float:
        return self.now_seconds


class ScriptedWatch:
    """Reads the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def seconds(self, call: Callable[[], object], calls: int) -> float:
        """Seconds of the calls."""
        started = self._clock()
        for _ in range(calls):
            call()
        return self._clock() - started


class ScriptedLoad(LoadMeter):
    """Cores used by other processes, one number per sample; the last is repeated."""

    def __init__(self, cores: Sequence[float]) -> None:
        self._cores = list(cores)
        self._asked = 0

    def look(self) -> Look:
        return Look(0.0, 0.0, 0.0)

    def foreign_cores(self, before: Look, after: Look) -> float:
        self._asked += 1
        return self._cores[min(self._asked, len(self._cores)) - 1]
