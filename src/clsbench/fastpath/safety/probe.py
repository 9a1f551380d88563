"""Observe what the stages of a classifier do while texts pass through them.

Observed are gradients, operations, the tensors that they read and write, and changes of state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.safety.operations import (
    Made,
    Operations,
    storages,
    tensors_of,
    weights_of,
)
from clsbench.fastpath.safety.snapshot import Snapshot
from clsbench.model.classifier import Classifier


class Probe(NamedTuple):
    """What the stages of the chain do in training mode, given the trained parameters.

    The first three fields are indices of stages, or the length of the chain. ``first_trained``: the
    first stage that reads a trained parameter or a tensor that another stage changes.
    ``first_drawing``: the first that draws random numbers, changes state, or behaves differently
    than in evaluation mode. ``first_product``: the first that multiplies matrices.
    ``reshapes``: the first that returns a different number of positions, or ``None``. ``tensors``:
    the names of the parameters and buffers that each stage reads, in training or evaluation.
    ``unread``: the trained parameters that neither a stage nor the head reads. ``changes``: whether
    a stage or the head changes state.
    """

    first_trained: int
    first_drawing: int
    first_product: int
    reshapes: int | None
    tensors: tuple[frozenset[str], ...]
    unread: frozenset[str]
    changes: bool

    @property
    def same(self) -> int:
        """The number of leading stages whose results never change."""
        return min(self.first_trained, self.first_drawing)

    @property
    def cut(self) -> int:
        """The number of leading stages whose results are kept; 0 if that saves no work."""
        return self.same if self.same > self.first_product else 0


class StageBehaviour(NamedTuple):
    """Behaviour of stages that rules out some shortcuts.

    ``otherwise``: the stages that run other operations in training than in evaluation, or change
    state. ``counting``: the stages that run other operations for another number of texts. ``read``
    and ``written``: the storages that each stage, and the head, reads and writes in evaluation.
    ``changes``: whether any of them changes state. ``joins``: whether batches may be joined in
    evaluation, because no stage changes state, draws random numbers or depends on the number of
    texts.
    """

    otherwise: frozenset[int]
    counting: frozenset[int]
    read: tuple[frozenset[int], ...]
    written: tuple[frozenset[int], ...]
    changes: bool
    joins: bool


class StageTrace(NamedTuple):
    """The output and operations of a stage or the head; ``changes``: whether it changed state."""

    hidden: Tensor
    operations: Operations
    changes: bool


def any_texts(count: int, positions: int, device: torch.device | str) -> Inputs:
    """A batch of ``count`` texts with ``positions`` tokens each."""
    ids = torch.zeros(count, positions, dtype=torch.int64, device=device)
    return Inputs(ids, torch.full((count,), positions, device=device), None, None)


def behaviour_of(
    classifier: Classifier,
    inputs: Inputs,
    compare: bool = True,
    other_counts: Sequence[int] = (),
) -> StageBehaviour:
    """Run the classifier in evaluation mode and, with ``compare``, in training mode.

    State that is made with the first text, such as a table, is not a change. ``other_counts``:
    further batch sizes to run, to find stages that depend on the batch size.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    with torch.no_grad():  # the choice of kernels may depend on gradients
        evaluation = trace_stages(classifier, inputs, training=False, settles=True)
        training = trace_stages(classifier, inputs, training=True) if compare else evaluation
        by_count = [
            trace_stages(classifier, _so_many(inputs, count), training=False)
            for count in {*other_counts} - {len(inputs.lengths)}
        ]
    counting = frozenset(
        index
        for many in by_count
        for index, (one, other) in enumerate(zip(evaluation, many, strict=True))
        if one.operations.computations() != other.operations.computations()
    )
    return StageBehaviour(
        otherwise=frozenset(
            index
            for index, (one, other) in enumerate(zip(evaluation, training, strict=True))
            if one.operations.steps != other.operations.steps or one.changes or other.changes
        ),
        counting=counting,
        read=tuple(frozenset(seen.operations.reads) for seen in evaluation),
        written=tuple(frozenset(seen.operations.writes) for seen in evaluation),
        changes=any(seen.changes for seen in (*evaluation, *training)),
        joins=not counting
        and not any(seen.changes or seen.operations.draws for seen in evaluation),
    )


def _so_many(inputs: Inputs, count: int) -> Inputs:
    """A batch that repeats the first text ``count`` times."""
    return Inputs(
        inputs.input_ids[:1].expand(count, -1), inputs.lengths[:1].expand(count), None, None
    )


def probe_stages(classifier: Classifier, inputs: Inputs, behaviour: StageBehaviour) -> Probe:
    """Run every stage in training mode; parameters that require gradients count as trained.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    trained = storages(p for p in classifier.parameters() if p.requires_grad)
    *seen, head = trace_stages(classifier, inputs, training=True)
    written = [
        traced.operations.writes | before
        for traced, before in zip((*seen, head), behaviour.written, strict=True)
    ]
    stages = len(seen)
    first_trained = first_drawing = first_idle = first_product = stages
    reshapes: int | None = None
    for index, (hidden, operations, changes) in enumerate(seen):
        by_others = set[int]().union(*written[:index], *written[index + 1 :])
        # A trained tensor that is read without a gradient changes as well.
        if hidden.requires_grad or (trained | by_others) & operations.reads:
            first_trained = min(index, first_trained)
        if operations.draws or changes or index in behaviour.otherwise | behaviour.counting:
            first_drawing = min(index, first_drawing)
        if operations.idle_draws:
            first_idle = min(index, first_idle)
        if operations.products:
            first_product = min(index, first_product)
        if reshapes is None and index < stages - 1 and hidden.shape[:2] != inputs.input_ids.shape:
            reshapes = index
    if head.operations.draws or first_drawing < stages:
        # Draws without effect still advance the generator that others use.
        first_drawing = min(first_drawing, first_idle)
    names, weights = tensors_of(classifier), weights_of(classifier)
    tensors = tuple(
        frozenset(names[memory] for memory in (each.operations.reads | before) & names.keys())
        for each, before in zip(seen, behaviour.read, strict=False)
    )
    read = set[int]().union(*(each.operations.reads for each in (*seen, head)))
    unread = frozenset(weights[memory] for memory in trained & weights.keys() - read)
    changes = any(each.changes for each in (*seen, head))
    return Probe(first_trained, first_drawing, first_product, reshapes, tensors, unread, changes)


def trace_stages(
    classifier: Classifier, inputs: Inputs, training: bool, settles: bool = False
) -> Sequence[StageTrace]:
    """Trace each stage, and last the head, in one mode.

    ``settles``: count only changes of state that also occur in a second run.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    with Operations(weights_of(classifier)):
        classifier.train(training)
    before = Snapshot(classifier)
    traces = list(_stages(classifier, inputs, before, closely=False))
    read = set[int]().union(*(each.operations.reads for each in traces))
    after = Snapshot(classifier)
    if after.is_as(before, read):
        return traces
    # Snapshots after every stage are slow, so they are taken only if the state has changed.
    closely = list(_stages(classifier, inputs, after, closely=True))
    if not settles and not any(each.changes for each in closely):
        closely[0] = closely[0]._replace(changes=True)  # the stage is not known
    return closely


def _stages(
    classifier: Classifier, inputs: Inputs, before: Snapshot, closely: bool
) -> Iterator[StageTrace]:
    """Trace the stages in order; the trace of the first includes preparing the context.

    ``closely``: compare the state after every stage, starting with ``before``.
    """
    chain = Chain(classifier, None)
    weights, made, memory = weights_of(classifier), Made(), before.memory()
    device = inputs.input_ids.device
    hidden: Tensor | None = None
    context: Any = None
    read: set[int] = set()
    for index in range(len(chain) + 1):
        on_meta = device if device.type == "meta" else nullcontext()
        with Operations(weights, made) as operations, on_meta:
            if index == 0:
                context = chain.context(inputs)
            if index < len(chain):
                hidden = chain.run(index, hidden, context, inputs)
            else:
                hidden = classifier.out_head(hidden)
        read |= operations.reads
        if device.type == "meta":  # torch.tensor() is not recorded there
            operations.writes &= memory
        changes = bool(operations.writes)
        if closely:
            after = Snapshot(classifier)
            changes |= not after.is_as(before, read)
            before = after
        yield StageTrace(hidden, operations, changes)
