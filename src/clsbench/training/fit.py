"""The training loop over a schedule of batches and evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from clsbench.fastpath.embedding_gradients import rows_of_gradients
from clsbench.fastpath.forward import Forward
from clsbench.fastpath.prefix import Progress
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.record import BeforeTraining, EpochEntry, StepEntry
from clsbench.training.batches import BatchTraining, NonFiniteLossError, refuse_not_finite
from clsbench.training.evaluate import batch_accuracy, mean_batch_loss
from clsbench.training.full_batch import FullBatchTraining
from clsbench.training.log import TrainingLog
from clsbench.training.recipe import Recipe, build_optimizer
from clsbench.training.schedule import Beforehand, EpochEnd, Evaluation, Event, TrainBatch
from clsbench.training.selection import EpochSelection, selects


def measure_before(forward: Forward, batches: Beforehand) -> BeforeTraining:
    """Accuracy and loss of the untrained classifier.

    Raises:
        NonFiniteLossError: a loss is not finite.
    """
    before = BeforeTraining(
        accuracy={
            name: batch_accuracy(forward, name, chosen) for name, chosen in batches.accuracy.items()
        },
        loss={
            name: mean_batch_loss(forward, name, chosen) for name, chosen in batches.loss.items()
        },
    )
    for name, loss in before.loss.items():
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the {name} loss is {loss} before training: backbone, pooling, head or adapter "
                "gives it: damaged weights, a faulty plugin, or values too large for "
                f"{forward.precision}"
            )
    return before


def fit(
    forward: Forward,
    events: Iterable[Event],
    freezing: FreezingPlan,
    recipe: Recipe,
    log: TrainingLog,
    hook: Any,
) -> None:
    """Train the classifier of ``forward`` in place along ``events``, and record it in ``log``.

    ``hook`` calls the lifecycle hooks. With ``train.select`` or ``train.patience``, the validation
    split decides which epoch's weights remain and when training ends. The optimizer holds only
    parameters that train in some epoch; a parameter that is frozen again keeps its value, since it
    has no gradient.

    Raises:
        NonFiniteLossError: names the step; the weights are those before it.
        PrefixChangedError: frozen stages have changed.
    """
    classifier = forward.classifier
    freezing.apply(classifier, freezing.ever())
    settings, optimizer = recipe.settings, build_optimizer(recipe, classifier)
    selection = EpochSelection(forward, freezing, recipe, log) if selects(settings) else None
    with rows_of_gradients(classifier) as gradients:
        training = FullBatchTraining if recipe.optimizer.full_batch else BatchTraining
        batches = training(forward, optimizer, recipe, log, gradients)
        epoch_begun = -1
        for event in events:
            if isinstance(event, TrainBatch):
                if event.epoch != epoch_begun:
                    epoch_begun = event.epoch
                    freezing.apply(classifier, freezing.by_epoch[event.epoch])
                    optimizer.zero_grad()
                    classifier.train()
                    forward.begin_epoch(event.epoch, prefix_progress(hook))
                hook.clsbench_step_finished(report=batches.train(event))
                if event.step == 0:
                    forward.verify()
                continue
            batches.settle()
            if isinstance(event, Evaluation):
                step_entry = StepEntry(
                    step=event.step,
                    epoch=event.epoch + 1,
                    examples_seen=log.examples,
                    train_loss=mean_batch_loss(forward, "train", event.train),
                    validation_loss=mean_batch_loss(forward, "validation", event.validation),
                    seconds=log.seconds(forward),
                )
                refuse_not_finite(step_entry.train_loss, event.step, settings, "training")
                refuse_not_finite(step_entry.validation_loss, event.step, settings, "validation")
                log.steps.append(step_entry)
                hook.clsbench_evaluated(entry=step_entry)
            elif isinstance(event, EpochEnd):
                epoch_entry = EpochEntry(
                    epoch=event.epoch + 1,
                    examples_seen=log.examples,
                    train_accuracy=batch_accuracy(forward, "train", event.train),
                    validation_accuracy=batch_accuracy(forward, "validation", event.validation),
                    trainable_parameters=sum(
                        p.numel() for p in classifier.parameters() if p.requires_grad
                    ),
                    seconds=log.seconds(forward),
                )
                log.epochs.append(epoch_entry)
                forward.verify()
                stops = selection is not None and selection.end_epoch(event.epoch)
                hook.clsbench_epoch_finished(entry=epoch_entry)
                if stops:
                    break
        batches.settle()
    if selection is not None:
        selection.finish()


def prefix_progress(hook: Any) -> Progress:
    """Report the progress of the frozen prefix to observers."""

    def report(done: int, total: int) -> None:
        hook.clsbench_prefix_progressed(done=done, total=total)

    return report
