"""Lower bounds for the time of a step, from its arithmetic and its memory traffic."""

from __future__ import annotations

import msgspec

from clsbench.bench.flops import count_flops
from clsbench.bench.machine_peak import Limits
from clsbench.builtin.backbones.gpt2.module import stage_of
from our_side import OurSide
from workload import Workload


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """The requirements of a step: floating-point operations, forward and backward, and bytes to
    move."""

    flops: float
    moved_bytes: int


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """The minimum ``seconds`` of a step: the longer of computing and moving.

    Assumes that no data stays in the processor's caches between steps; if the trained weights fit
    into them, the true bound is lower.
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
    """The mean over the workload's batches, counted while training on them."""

    def every_batch() -> None:
        for _ in workload.batches:
            ours.step()

    flops = count_flops(every_batch) / len(workload.batches)
    return Needs(flops=flops, moved_bytes=_moved_bytes(ours, workload))


def _moved_bytes(ours: OurSide, workload: Workload) -> int:
    """The bytes of weights after the cut, forward and backward, of gradients, the optimizer and
    kept activations.

    Of the embedding tables, a step reads few rows, so only their training counts.
    """
    stages = workload.plan.stages
    read = 0
    for name, parameter in ours.classifier.named_parameters():
        inside = name.removeprefix("backbone.")
        stage = stage_of(inside) if inside != name else None
        if stage != stages[0] and (stage is None or stages.index(stage) >= ours.cut):
            read += parameter.nbytes
    trained = sum(parameter.nbytes for parameter in ours.trained)
    passes = workload.experiment.optimizer.memory_passes()
    return 2 * read + trained + round(passes * trained) + ours.kept_bytes()
