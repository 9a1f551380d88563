"""What the stages of a classifier do, seen while a text goes through them.

Nobody declares it: gradients, operations, the tensors that these read, and what they leave changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.operations import Operations, storages, weights_of
from clsbench.fastpath.state import State
from clsbench.model.classifier import Classifier


class Probe(NamedTuple):
    """What the stages of the chain do in training mode, with certain parameters trained.

    Each is the index of a stage, or the chain's length: the first that reads a trained parameter
    (or what another one changes), the first that draws random numbers, changes what the classifier
    holds, or does something else than in evaluation mode, the first that multiplies matrices.
    ``reshapes``: the first that gives another number of positions, or ``None``. ``weights``: the
    names of the parameters that each stage reads; ``unread``: of those trained, which none reads,
    and the head neither.
    """

    first_trained: int
    first_drawing: int
    first_product: int
    reshapes: int | None
    weights: tuple[frozenset[str], ...]
    unread: frozenset[str]

    @property
    def same(self) -> int:
        """How many leading stages give the same every time."""
        return min(self.first_trained, self.first_drawing)

    @property
    def cut(self) -> int:
        """How many leading stages give the same every time, if there is work to be saved."""
        return self.same if self.same > self.first_product else 0


class Manner(NamedTuple):
    """What is done otherwise than the rest of the plan takes for granted.

    ``otherwise``: the stages that take other steps while training than in evaluation, or change or
    draw something there; ``counting``: those that take others with other numbers of texts;
    ``written``: the memory that each stage, and the head, writes to in evaluation; ``joins``:
    whether nothing is changed or drawn in evaluation, whatever the number of texts, so that batches
    may be joined.
    """

    otherwise: frozenset[int]
    counting: frozenset[int]
    written: tuple[frozenset[int], ...]
    joins: bool


class Seen(NamedTuple):
    """What a stage, or the head, gave and did; ``changes``: what the classifier holds is not as it
    was, ``written`` the memory it has it in."""

    hidden: Tensor
    operations: Operations
    written: frozenset[int]
    changes: bool


def any_texts(count: int, positions: int, device: torch.device | str) -> Inputs:
    """So many texts of so many positions."""
    ids = torch.zeros(count, positions, dtype=torch.int64, device=device)
    return Inputs(ids, torch.full((count,), positions, device=device), None, None)


def manner_of(
    classifier: Classifier,
    inputs: Inputs,
    compare: bool = True,
    other_counts: Sequence[int] = (),
) -> Manner:
    """Send texts through in evaluation and, to ``compare``, in training mode.

    What comes into being with the first text, such as a table, is no change. ``other_counts``: how
    many texts are sent through besides, to see what depends on that.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    with torch.no_grad():  # which kernel is chosen may depend on what needs gradients
        evaluation = see_stages(classifier, inputs, training=False, settles=True)
        training = see_stages(classifier, inputs, training=True) if compare else evaluation
        by_count = [
            see_stages(classifier, _so_many(inputs, count), training=False)
            for count in {*other_counts} - {len(inputs.lengths)}
        ]
    counting = frozenset(
        index
        for many in by_count
        for index, (one, other) in enumerate(zip(evaluation, many, strict=True))
        if one.operations.computations() != other.operations.computations()
    )
    return Manner(
        otherwise=frozenset(
            index
            for index, (one, other) in enumerate(zip(evaluation, training, strict=True))
            if one.operations.steps != other.operations.steps or one.changes or other.changes
        ),
        counting=counting,
        written=tuple(seen.written for seen in evaluation),
        joins=not counting
        and not any(seen.changes or seen.operations.draws for seen in evaluation),
    )


def _so_many(inputs: Inputs, count: int) -> Inputs:
    """The first of the texts, so many times."""
    return Inputs(
        inputs.input_ids[:1].expand(count, -1), inputs.lengths[:1].expand(count), None, None
    )


def probe_stages(classifier: Classifier, inputs: Inputs, manner: Manner) -> Probe:
    """Send texts through every stage in training mode.

    What is trained are the parameters that require gradients.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    trained = storages(p for p in classifier.parameters() if p.requires_grad)
    *seen, head = see_stages(classifier, inputs, training=True)
    written = [one.written | two for one, two in zip((*seen, head), manner.written, strict=True)]
    stages = len(seen)
    first_trained = first_drawing = first_idle = first_product = stages
    reshapes: int | None = None
    for index, (hidden, operations, _, changes) in enumerate(seen):
        by_others = set[int]().union(*written[:index], *written[index + 1 :])
        # What is read without a gradient changes all the same.
        if hidden.requires_grad or (trained | by_others) & operations.reads:
            first_trained = min(index, first_trained)
        if operations.draws or changes or index in manner.otherwise | manner.counting:
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
    names = weights_of(classifier)
    weights = tuple(
        frozenset(names[memory] for memory in each.operations.reads & names.keys()) for each in seen
    )
    read = set[int]().union(*(each.operations.reads for each in (*seen, head)))
    unread = frozenset(names[memory] for memory in trained & names.keys() - read)
    return Probe(first_trained, first_drawing, first_product, reshapes, weights, unread)


def see_stages(
    classifier: Classifier, inputs: Inputs, training: bool, settles: bool = False
) -> Sequence[Seen]:
    """What each stage, and last the head, gives and does in one mode.

    ``settles``: only what changes when texts go through a second time is a change.

    Raises:
        WritesWeightsError: a parameter would have been written to.
    """
    with Operations(weights_of(classifier)):
        classifier.train(training)
    before = State(classifier)
    seen = list(_stages(classifier, inputs, before, closely=False))
    read = set[int]().union(*(each.operations.reads for each in seen))
    after = State(classifier)
    if after.is_as(before, read):
        return seen
    # To look after every stage takes long, so it is done where there is something to be found.
    closely = list(_stages(classifier, inputs, after, closely=True))
    if not settles and not any(each.changes for each in closely):
        closely[0] = closely[0]._replace(changes=True)  # whichever it was
    return closely


def _stages(classifier: Classifier, inputs: Inputs, before: State, closely: bool) -> Iterator[Seen]:
    """The first does what prepares them all, too; ``before`` is what is held at the start."""
    chain = Chain(classifier, None)
    weights, memory = weights_of(classifier), before.memory()
    device = inputs.input_ids.device
    hidden: Tensor | None = None
    context: Any = None
    read: set[int] = set()
    for index in range(len(chain) + 1):
        on_meta = device if device.type == "meta" else nullcontext()
        with Operations(weights) as operations, on_meta:
            if index == 0:
                context = chain.context(inputs)
            if index < len(chain):
                hidden = chain.run(index, hidden, context, inputs)
            else:
                hidden = classifier.out_head(hidden)
        read |= operations.reads
        written = frozenset(operations.writes & memory)
        changes = bool(written)
        if closely:
            after = State(classifier)
            changes |= not after.is_as(before, read)
            before = after
        yield Seen(hidden, operations, written, changes)
