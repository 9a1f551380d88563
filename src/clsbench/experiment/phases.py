"""Time the phases of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clsbench.fastpath.forward import Forward


class Phases:
    """Seconds by phase; entering a phase notifies the observers."""

    def __init__(self, hook: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.current = ""
        """The phase that was entered last."""
        self._hook = hook

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as the phase ``name``, or as a further part of it."""
        self.current = name
        self._hook.clsbench_phase_started(phase=name)
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def without_prefix(self, name: str, forward: Forward) -> Iterator[None]:
        """Time the block as ``name``, except the time spent on a frozen prefix, which counts as
        that."""
        before = forward.prefix_seconds
        try:
            with self(name):
                yield
        finally:
            if seconds := forward.prefix_seconds - before:
                self.seconds[name] -= seconds
                self.seconds["prefix"] += seconds
