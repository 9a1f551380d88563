"""What the stages of a classifier do, observed while a text goes through them.

Observed are gradients, operations, the tensors that these read and write, and state that changes.
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
    """What the stages of the chain do in training mode, with certain parameters trained.

    Each is the index of a stage, or the chain's length: the first that reads a trained parameter
    (or what another one changes), the first that draws random numbers, changes what the classifier
    holds, or does something else than in evaluation mode, the first that multiplies matrices.
    ``reshapes``: the first that gives another number of positions, or ``None``. ``tensors``: the
    names of the parameters and buffers that each stage reads, in training or evaluation;
    ``unread``: the trained parameters that neither a stage nor the head reads; ``changes``:
    whether a stage or the head changes state.
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
        """How many leading stages give the same every time."""
        return min(self.first_trained, self.first_drawing)

    @property
    def cut(self) -> int:
        """How many leading stages give the same every time, if there is work to be saved."""
        return self.same if self.same > self.first_product else 0


class StageBehaviour(NamedTuple):
    """How stages behave in ways that a plan does not take for granted.

    ``otherwise``: the stages that take other steps in training than in evaluation, or that change
    state there; ``counting``: those that take other steps for other numbers of texts; ``read`` and
    ``written``: the memory that each stage, and the head, reads and writes in evaluation;
    ``changes``: whether any of them changes state; ``joins``: whether batches may be joined in
    evaluation, since nothing is changed or drawn there, whatever the number of texts.
    """

    otherwise: frozenset[int]
    counting: frozenset[int]
    read: tuple[frozenset[int], ...]
    written: tuple[frozenset[int], ...]
    changes: bool
    joins: bool


class StageTrace(NamedTuple):
    """The output and the operations of a stage, or of the head; ``changes``: it changed state."""

    hidden: Tensor
    operations: Operations
    changes: bool


def any_texts(count: int, positions: int, device: torch.device | str) -> Inputs:
    """So many texts of so many positions."""
    ids = torch.zeros(count, positions, dtype=torch.int64, device=device)
    return Inputs(ids, torch.full((count,), positions, device=device), None, None)


def behaviour_of(
    classifier: Classifier,
    inputs: Inputs,
    compare: bool = True,
    other_counts: Sequence[int] = (),
) -> StageBehaviour:
    """Send texts through in evaluation and, to ``compare``, in training mode.

    What is made with the first text, such as a table, is not a change. ``other_counts``: how
    many texts are sent through besides, to see what depends on that.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    with torch.no_grad():  # which kernel is chosen may depend on what needs gradients
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
    """The first of the texts, so many times."""
    return Inputs(
        inputs.input_ids[:1].expand(count, -1), inputs.lengths[:1].expand(count), None, None
    )


def probe_stages(classifier: Classifier, inputs: Inputs, behaviour: StageBehaviour) -> Probe:
    """Send texts through every stage in training mode.

    What is trained are the parameters that require gradients.

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
        # What is read without a gradient changes all the same.
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
        # Draws without effect still move the generator from which others draw.
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
    """What each stage, and last the head, returns and does in one mode.

    ``settles``: only what changes when texts go through a second time is a change.

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
    # A snapshot after every stage takes long, so it is taken only where something has changed.
    closely = list(_stages(classifier, inputs, after, closely=True))
    if not settles and not any(each.changes for each in closely):
        closely[0] = closely[0]._replace(changes=True)  # it is not known which stage it was
    return closely


def _stages(
    classifier: Classifier, inputs: Inputs, before: Snapshot, closely: bool
) -> Iterator[StageTrace]:
    """The first also prepares the context of all; ``closely``: state is compared with that
    ``before`` after every stage."""
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
        if device.type == "meta":  # where torch.tensor() does not show as an operation
            operations.writes &= memory
        changes = bool(operations.writes)
        if closely:
            after = Snapshot(classifier)
            changes |= not after.is_as(before, read)
            before = after
        yield StageTrace(hidden, operations, changes)
