"""The order of training batches and evaluations, exactly as in the book.

In the book, evaluation draws from the global generator too (each ``iter()`` of a loader draws a
base seed, a shuffled one a second), so evaluations change the order of later batches. Therefore the
order comes from real ``DataLoader``s over indices, iterated as in the book. It does not depend on
the model, so the whole schedule is known before training starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from clsbench.errors import UsageError
from clsbench.schema.experiment import from_tree
from clsbench.schema.record import RunRecord
from clsbench.schema.training import TrainSettings
from clsbench.system.seeding import torch_generators_restored

Indices = tuple[int, ...]


class TrainBatch(NamedTuple):
    """Train on the texts at ``indices``; take an optimizer step if ``update``.

    ``indices`` count the texts of the training split; ``step`` and ``epoch`` count from 0.
    """

    step: int
    epoch: int
    indices: Indices
    update: bool


class Evaluation(NamedTuple):
    """Measure the loss on a few batches of either split, after the batch numbered ``step``."""

    step: int
    epoch: int
    train: tuple[Indices, ...]
    validation: tuple[Indices, ...]


class EpochEnd(NamedTuple):
    """Measure the accuracy on a few batches of either split; ``epoch`` counts from 0."""

    epoch: int
    train: tuple[Indices, ...]
    validation: tuple[Indices, ...]


class Beforehand(NamedTuple):
    """The batches on which the untrained classifier is evaluated, by split."""

    accuracy: dict[str, tuple[Indices, ...]]
    loss: dict[str, tuple[Indices, ...]]


Event = TrainBatch | Evaluation | EpochEnd


class BatchSchedule(NamedTuple):
    """All batches of a run: before training, and the events of training."""

    beforehand: Beforehand
    events: tuple[Event, ...]


def seeded_schedule(
    seed: int, texts: Mapping[str, int], settings: TrainSettings, full_batch: bool = False
) -> BatchSchedule:
    """The batches of a run; ``texts`` holds the size of each split by name.

    ``full_batch``: its optimizer takes the whole training split in each step.

    Seeds torch's global generators twice, as the book does: before the first evaluation and before
    training.
    """
    torch.manual_seed(seed)
    first = beforehand(texts, settings)
    torch.manual_seed(seed)
    events = training_schedule(texts["train"], texts["validation"], settings, full_batch)
    return BatchSchedule(first, tuple(events))


def batch_order(record: RunRecord) -> tuple[TrainBatch, ...]:
    """The training batches of a run in order, as its seed, settings and split sizes determine them.

    A run that was interrupted, or ended by ``train.patience``, has trained on the first of them.
    The order is that of the torch version in use; the record holds the version of the run.

    Raises:
        UsageError: the record has no data.
    """
    if record.data is None:
        raise UsageError("the record has no data, so the order of its batches is not known")
    spec = from_tree(record.spec, "the spec of the record")
    with torch_generators_restored():
        sizes, full_batch = record.data.sizes, record.full_batch
        events = seeded_schedule(spec.seed, sizes, spec.train, full_batch).events
    return tuple(event for event in events if isinstance(event, TrainBatch))


def beforehand(texts: Mapping[str, int], settings: TrainSettings) -> Beforehand:
    """The batches on which the book evaluates the untrained classifier, from torch's global
    generator.

    ``texts`` holds the size of each split by name. The accuracy uses twice
    ``settings.eval_batches`` batches of each split (10 in the book), the loss as many as during
    training (5).

    Source: *LLMs-from-scratch*, ``ch06.ipynb``, the cells before ``train_classifier_simple``.
    """
    loaders = {
        name: _loader(size, settings.batch_size, shuffled=name == "train")
        for name, size in texts.items()
    }

    def few(batches: int) -> dict[str, tuple[Indices, ...]]:
        return {name: tuple(itertools.islice(loader, batches)) for name, loader in loaders.items()}

    return Beforehand(accuracy=few(2 * settings.eval_batches), loss=few(settings.eval_batches))


def book_schedule(
    train_texts: int, validation_texts: int, settings: TrainSettings
) -> Iterator[Event]:
    """All events of a training run in order, drawn from torch's global generator.

    Steps count batches (optimizer steps, unless gradients are accumulated). The last, incomplete
    batch of an epoch is dropped; its texts are not used in that epoch.

    Source: ``train_classifier_simple`` in *LLMs-from-scratch*, ``ch06.ipynb``; with accumulation,
    the function of the same name in ``additional_experiments.py``.
    """
    train: DataLoader[int] = _loader(train_texts, settings.batch_size, shuffled=True)
    validation: DataLoader[int] = _loader(validation_texts, settings.batch_size, shuffled=False)
    step = -1
    for epoch in range(settings.epochs):
        for number, indices in enumerate(train, start=1):
            step += 1
            update = number % settings.accumulation == 0 or number == len(train)
            yield TrainBatch(step, epoch, indices, update)
            if step % settings.eval_every == 0:
                yield Evaluation(step, epoch, *_few(train, validation, settings.eval_batches))
        yield EpochEnd(epoch, *_few(train, validation, settings.eval_batches))


def training_schedule(
    train_texts: int, validation_texts: int, settings: TrainSettings, full_batch: bool
) -> Iterator[Event]:
    """The book's schedule, or that of an optimizer that takes the whole split in each step."""
    schedule = full_batch_schedule if full_batch else book_schedule
    return schedule(train_texts, validation_texts, settings)


def full_batch_schedule(
    train_texts: int, validation_texts: int, settings: TrainSettings
) -> Iterator[Event]:
    """All events of a training run whose steps take the whole training split: one in each epoch.

    Evaluations take the first batches of each split. Nothing is random.
    """
    train, validation = (
        tuple(
            tuple(range(at, min(at + settings.batch_size, texts)))
            for at in range(0, texts, settings.batch_size)
        )[: settings.eval_batches]
        for texts in (train_texts, validation_texts)
    )
    for epoch in range(settings.epochs):
        yield TrainBatch(epoch, epoch, tuple(range(train_texts)), update=True)
        if epoch % settings.eval_every == 0:
            yield Evaluation(epoch, epoch, train, validation)
        yield EpochEnd(epoch, train, validation)


def _loader(texts: int, batch_size: int, shuffled: bool) -> DataLoader[int]:
    return DataLoader(
        range(texts),  # type: ignore[arg-type]  # any sequence will do
        batch_size=batch_size,
        shuffle=shuffled,
        drop_last=shuffled,
        collate_fn=tuple,
    )


def _few(
    train: DataLoader[int], validation: DataLoader[int], batches: int
) -> tuple[tuple[Indices, ...], tuple[Indices, ...]]:
    return (
        tuple(itertools.islice(train, batches)),
        tuple(itertools.islice(validation, batches)),
    )
