"""A workload, measured: its time, its memory, its arithmetic, and what that makes a second."""

from __future__ import annotations

import msgspec

from clsbench.bench.flops import count_flops
from clsbench.bench.memory import PeakMemory, peak_memory
from clsbench.bench.sampling import Rules, Timing, Workload, take_samples


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One workload on one device.

    ``examples``, ``real_tokens`` and ``padded_tokens`` (all positions that are fed, padding among
    them), ``flops`` (of matrix products) and ``moved_bytes`` (read and written in memory, 0 where
    that is not known) are those of one call.
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
        """The median of a call, ``None`` if it could not be measured."""
        return self.timing.seconds.median if self.timing.seconds is not None else None

    def per_second(self, amount: float) -> float | None:
        """How much of something a second, of which a call does ``amount``."""
        return amount / self.seconds if self.seconds else None


def measure(workload: Workload, rules: Rules) -> Measurement:
    """Set a workload up, time it by the rules, count and watch one call more, and tear it down.

    Raises:
        UnsynchronisedError: its call leaves work behind on the device.
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
