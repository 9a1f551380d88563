"""What the machine cannot beat: the arithmetic and the memory traffic that a step must have."""

from __future__ import annotations

import msgspec

from clsbench.bench.flops import count_flops
from clsbench.bench.machine_peak import Limits
from clsbench.builtin.backbones.gpt2.module import stage_of
from clsbench.training.fit import OPTIMIZER_PASSES
from our_side import OurSide
from workload import Workload


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


def bound(needs: Needs, limits: Limits) -> Bound:
    """The bound of a step on this machine."""
    compute = needs.flops / limits.flops_per_second
    memory = needs.moved_bytes / limits.bytes_per_second
    return Bound(compute_seconds=compute, memory_seconds=memory, seconds=max(compute, memory))


def needs_of_a_step(ours: OurSide, workload: Workload) -> Needs:
    """Counted over one pass through the workload's batches, which are trained on; the mean."""

    def every_batch() -> None:
        for _ in workload.batches:
            ours.step()

    flops = count_flops(every_batch) / len(workload.batches)
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
    return 2 * read + trained + OPTIMIZER_PASSES * trained + ours.kept_bytes()
