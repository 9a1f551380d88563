"""Measure a workload: time, memory, arithmetic and throughput."""

from __future__ import annotations

import msgspec

from clsbench.bench.flops import count_flops
from clsbench.bench.memory import PeakMemory, peak_memory
from clsbench.bench.sampling import Rules, Timing, Workload, take_samples


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """The measurement of one workload on one device.

    ``examples``, ``real_tokens``, ``padded_tokens`` (all positions, including padding), ``flops``
    (of matrix products) and ``moved_bytes`` (read and written in memory, 0 if unknown) are per
    call.
    """

    name: str
    phase: str
    device: str
    examples: int
    real_tokens: int
    padded_tokens: int
    timing: Timing
    flops: int
    moved_bytes: int
    memory: PeakMemory

    @property
    def seconds(self) -> float | None:
        """The median time of a call in seconds; ``None`` if it could not be measured."""
        return self.timing.seconds.median if self.timing.seconds is not None else None

    def per_second(self, amount: float) -> float | None:
        """The rate per second, if a call processes ``amount``."""
        return amount / self.seconds if self.seconds else None


def measure(workload: Workload, rules: Rules) -> Measurement:
    """Set a workload up, time it, measure one further call's memory and operations, and tear it
    down.

    Raises:
        UnsynchronisedError: its call returns before its work on the device is done.
    """
    try:
        workload.setup()
        timing = take_samples(workload, rules)
        flops = count_flops(workload.call)
        memory = peak_memory(workload.call, workload.device)
    finally:
        workload.teardown()
    return Measurement(
        name=workload.name,
        phase=workload.phase,
        device=str(workload.device),
        examples=workload.examples,
        real_tokens=workload.real_tokens,
        padded_tokens=workload.padded_tokens,
        timing=timing,
        flops=flops,
        moved_bytes=workload.moved_bytes,
        memory=memory,
    )
