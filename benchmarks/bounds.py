"""What the machine cannot beat: the arithmetic and the memory traffic that a step must have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from clsbench.builtin.gpt2.module import stage_of
from our_side import OurSide
from racing import LoadMeter
from workload import Workload

_ADAMW_PASSES = 7
"""AdamW reads a parameter, its gradient and two moments, and writes all but the gradient."""

_SIDE = {"small": 2048, "tiny": 512}
_COPIED_BYTES = {"small": 256 * 2**20, "tiny": 32 * 2**20}
_SECONDS = {"small": 1.5, "tiny": 0.2}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The best that this machine showed while it raced, in float32 with the race's threads.

    ``flops_per_second`` in a product of two square matrices with ``matrix_side`` rows;
    ``bytes_per_second``, read and written, in a copy. ``foreign_cores``: what others used at the
    quietest measurement.
    """

    flops_per_second: float
    bytes_per_second: float
    matrix_side: int
    foreign_cores: float


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a step needs: floating-point operations, forward and backward, and bytes to move."""

    flops: float
    moved_bytes: int


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A step cannot take less than ``seconds``: the longer of computing and moving.

    As if nothing stayed in the processor's caches from one step to the next; where the trained
    weights fit into them, the true bound lies lower.
    """

    compute_seconds: float
    memory_seconds: float
    seconds: float


def bound(needs: Needs, machine: Machine) -> Bound:
    """The bound of a step on this machine."""
    compute = needs.flops / machine.flops_per_second
    memory = needs.moved_bytes / machine.bytes_per_second
    return Bound(compute_seconds=compute, memory_seconds=memory, seconds=max(compute, memory))


class LimitsMeter:
    """Measures the machine now and then, and keeps the best: a peak seen under load is none."""

    def __init__(self, size: str) -> None:
        side = _SIDE[size]
        self._matrices = [torch.rand(side, side) for _ in range(3)]
        self._source = torch.ones(_COPIED_BYTES[size] // 4)
        self._seconds = _SECONDS[size]
        self._matrix_seconds = self._copy_seconds = self.foreign_cores = float("inf")

    def measure(self) -> None:
        """Measure once more."""
        left, right, out = self._matrices
        target = torch.empty_like(self._source)
        meter = LoadMeter()
        before = meter.look()
        matrix = _best(lambda: torch.mm(left, right, out=out), self._seconds)
        copying = _best(lambda: target.copy_(self._source), self._seconds)
        self.foreign_cores = min(self.foreign_cores, meter.foreign_cores(before, meter.look()))
        self._matrix_seconds = min(self._matrix_seconds, matrix)
        self._copy_seconds = min(self._copy_seconds, copying)

    def best(self) -> Machine:
        """The best so far."""
        side = len(self._matrices[0])
        return Machine(
            flops_per_second=2 * side**3 / self._matrix_seconds,
            bytes_per_second=2 * self._source.nbytes / self._copy_seconds,
            matrix_side=side,
            foreign_cores=self.foreign_cores,
        )


def needs_of_a_step(ours: OurSide, workload: Workload) -> Needs:
    """Counted over one pass through the workload's batches, which are trained on; the mean."""
    causal = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    counter = FlopCounterMode(display=False, custom_mapping=causal)  # type: ignore[arg-type]
    with counter:
        for _ in workload.batches:
            ours.step()
    flops = counter.get_total_flops() / len(workload.batches)
    return Needs(flops=flops, moved_bytes=_moved_bytes(ours, workload))


def _moved_bytes(ours: OurSide, workload: Workload) -> int:
    """Weights behind the cut, forward and backward; gradients, written; AdamW; kept activations.

    Of the embedding tables a step reads few rows, so that only their training counts.
    """
    stages = workload.plan.stages
    read = 0
    for name, parameter in ours.classifier.named_parameters():
        inside = name.removeprefix("backbone.")
        stage = stage_of(inside) if inside != name else None
        if stage != stages[0] and (stage is None or stages.index(stage) >= ours.cut):
            read += parameter.nbytes
    trained = sum(parameter.nbytes for parameter in ours.trained)
    return 2 * read + trained + _ADAMW_PASSES * trained + ours.kept_bytes()


def _best(call: Callable[[], Any], seconds: float) -> float:
    """The shortest of many calls, in seconds."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def _attention(
    query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, *_: Any, **__: Any
) -> int:
    """Torch counts no attention on CPUs; a causal one needs half of the products."""
    return int(sdpa_flop_count(query, key, value)) // (2 if causal else 1)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, dropout: float,
    causal: bool, *_: Any, **__: Any,
) -> int:  # fmt: skip
    assert not isinstance(query, Tensor)  # shapes
    return int(sdpa_backward_flop_count(grad, query, key, value)) // (2 if causal else 1)
