"""Measure the machine's peak performance: a matrix product and a memory copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import torch

from clsbench.bench.load import LoadMeter
from clsbench.bench.stopwatch import Stopwatch, stopwatch, synchronise

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The peak of a device with the threads and in the precision of the run.

    ``flops_per_second`` is that of a product of two square matrices with ``matrix_side`` rows;
    ``bytes_per_second``, read and written, that of a copy of ``copied_bytes``. ``foreign_cores`` is
    the lowest load by other processes during a measurement.
    """

    flops_per_second: float
    bytes_per_second: float
    matrix_side: int
    copied_bytes: int
    foreign_cores: float


class LimitsMeter:
    """Measures a device repeatedly and keeps the best values, since load lowers single
    measurements."""

    def __init__(
        self,
        device: torch.device,
        precision: str = "fp32",
        matrix_side: int | None = None,
        copied_bytes: int | None = None,
        seconds: float = 1.5,
        watch: Stopwatch | None = None,
    ) -> None:
        self._device = device
        self._dtype = _DTYPES[precision]
        on_cpu = device.type == "cpu"
        self._side = matrix_side or (2048 if on_cpu else 8192)  # work that keeps the device busy
        self._copied_bytes = copied_bytes or (2**28 if on_cpu else 2**31)
        self._seconds = seconds
        self._watch = watch or stopwatch(device)
        self._matrix_seconds = self._copy_seconds = self._foreign_cores = float("inf")

    def measure(self) -> None:
        """Measure once more; the memory is freed afterwards."""
        left, right, out = (
            torch.rand(self._side, self._side, device=self._device).to(self._dtype)
            for _ in range(3)
        )
        source = torch.ones(self._copied_bytes, dtype=torch.uint8, device=self._device)
        target = torch.empty_like(source)
        load = LoadMeter()
        before = load.look()
        product = self._best(lambda: torch.mm(left, right, out=out))
        copying = self._best(lambda: target.copy_(source))
        self._foreign_cores = min(self._foreign_cores, load.foreign_cores(before, load.look()))
        self._matrix_seconds = min(self._matrix_seconds, product)
        self._copy_seconds = min(self._copy_seconds, copying)

    def best(self) -> Limits:
        """The best values so far."""
        return Limits(
            flops_per_second=2 * self._side**3 / self._matrix_seconds,
            bytes_per_second=2 * self._copied_bytes / self._copy_seconds,
            matrix_side=self._side,
            copied_bytes=self._copied_bytes,
            foreign_cores=self._foreign_cores,
        )

    def _best(self, call: Callable[[], Any]) -> float:
        """The time of the fastest of many calls, in seconds."""

        def done() -> None:
            call()
            synchronise(self._device)

        return shortest(done, self._seconds, self._watch)


def shortest(
    call: Callable[[], object],
    seconds: float,
    watch: Stopwatch,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The time of the fastest call within ``seconds``, after one warm-up call."""
    call()
    best, end = float("inf"), clock() + seconds
    while clock() < end or best == float("inf"):
        best = min(best, watch.seconds(call, 1))
    return best
