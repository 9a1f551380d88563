"""The training loop: AdamW on cross-entropy, over a schedule of batches and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from clsbench.data.tokens import TokenizedSplits
from clsbench.errors import ClsbenchError
from clsbench.model.freezing import FreezingPlan
from clsbench.record import BeforeTraining, EpochEntry, History, StepEntry, Throughput
from clsbench.spec import TrainSettings
from clsbench.training.evaluate import autocast, batch_accuracy, mean_batch_loss
from clsbench.training.schedule import Beforehand, EpochEnd, Evaluation, Event, TrainBatch
from clsbench.values import StepReport


class NonFiniteLossError(ClsbenchError):
    """The loss became infinite or not a number."""


class TrainingLog:
    """What training has shown so far; whole at any moment: an interruption loses nothing."""

    def __init__(self) -> None:
        self.before: BeforeTraining | None = None
        self.steps: list[StepEntry] = []
        self.epochs: list[EpochEntry] = []
        self.examples = 0
        self.real_tokens = 0
        self.padded_tokens = 0
        self.train_seconds = 0.0
        self.started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since training began, evaluations included."""
        return time.perf_counter() - self.started

    def history(self) -> History:
        """The entries so far."""
        return History(before=self.before, steps=tuple(self.steps), epochs=tuple(self.epochs))

    def throughput(self) -> Throughput | None:
        """Texts and tokens per second of training proper, ``None`` before the first batch."""
        if self.train_seconds <= 0:
            return None
        return Throughput(
            examples_per_second=self.examples / self.train_seconds,
            real_tokens_per_second=self.real_tokens / self.train_seconds,
            padded_tokens_per_second=self.padded_tokens / self.train_seconds,
        )


def measure_before(
    classifier: nn.Module,
    data: TokenizedSplits,
    batches: Beforehand,
    device: torch.device,
    precision: str,
) -> BeforeTraining:
    """Accuracy and loss of the classifier as it was drawn.

    Raises:
        NonFiniteLossError: before anything is trained.
    """
    before = BeforeTraining(
        accuracy={
            name: batch_accuracy(classifier, getattr(data, name), chosen, device, precision)
            for name, chosen in batches.accuracy.items()
        },
        loss={
            name: mean_batch_loss(classifier, getattr(data, name), chosen, device, precision)
            for name, chosen in batches.loss.items()
        },
    )
    for name, loss in before.loss.items():
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the {name} loss is {loss} before training: backbone, pooling, head or adapter "
                f"gives it: damaged weights, a faulty plugin, or values too large for {precision}"
            )
    return before


def fit(
    classifier: nn.Module,
    data: TokenizedSplits,
    events: Iterable[Event],
    freezing: FreezingPlan,
    settings: TrainSettings,
    device: torch.device,
    precision: str,
    log: TrainingLog,
    hook: Any,
) -> None:
    """Train ``classifier`` in place along ``events``; ``log`` fills as it goes.

    ``hook`` relays the lifecycle hooks. Parameters that train in no epoch never reach the
    optimiser; one that is frozen again keeps its weights, since it has no gradient.

    Raises:
        NonFiniteLossError: naming the step; the weights are those from before it.
    """
    freezing.apply(classifier, freezing.ever())
    trainable = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    epoch_begun = -1
    for event in events:
        if isinstance(event, TrainBatch):
            if event.epoch != epoch_begun:
                epoch_begun = event.epoch
                freezing.apply(classifier, freezing.by_epoch[event.epoch])
                optimizer.zero_grad()
                classifier.train()
            report = _train_batch(
                classifier, data, event, optimizer, settings, device, precision, log
            )
            hook.clsbench_step_finished(report=report)
        elif isinstance(event, Evaluation):
            step_entry = StepEntry(
                step=event.step,
                epoch=event.epoch + 1,
                examples_seen=log.examples,
                train_loss=mean_batch_loss(classifier, data.train, event.train, device, precision),
                validation_loss=mean_batch_loss(
                    classifier, data.validation, event.validation, device, precision
                ),
                seconds=log.seconds(),
            )
            _refuse_not_finite(step_entry.train_loss, event.step, settings, "training")
            _refuse_not_finite(step_entry.validation_loss, event.step, settings, "validation")
            log.steps.append(step_entry)
            hook.clsbench_evaluated(entry=step_entry)
        elif isinstance(event, EpochEnd):
            epoch_entry = EpochEntry(
                epoch=event.epoch + 1,
                examples_seen=log.examples,
                train_accuracy=batch_accuracy(
                    classifier, data.train, event.train, device, precision
                ),
                validation_accuracy=batch_accuracy(
                    classifier, data.validation, event.validation, device, precision
                ),
                trainable_parameters=sum(
                    p.numel() for p in classifier.parameters() if p.requires_grad
                ),
                seconds=log.seconds(),
            )
            log.epochs.append(epoch_entry)
            hook.clsbench_epoch_finished(entry=epoch_entry)


def _train_batch(
    classifier: nn.Module,
    data: TokenizedSplits,
    event: TrainBatch,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    device: torch.device,
    precision: str,
    log: TrainingLog,
) -> StepReport:
    started = time.perf_counter()
    batch = data.train.batch(event.indices)
    real_tokens = int(batch.lengths.sum())
    on_device = batch.to(device)
    with autocast(device, precision):
        logits = classifier(on_device.input_ids, on_device.lengths)
        loss = F.cross_entropy(logits, on_device.labels)
    loss_value = loss.item()
    _refuse_not_finite(loss_value, event.step, settings, "training")
    (loss / settings.accumulation).backward()  # type: ignore[no-untyped-call]
    if event.update:
        optimizer.step()
        optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    log.train_seconds += time.perf_counter() - started
    log.examples += len(event.indices)
    log.real_tokens += real_tokens
    log.padded_tokens += batch.input_ids.numel()
    return StepReport(
        step=event.step,
        epoch=event.epoch,
        loss=lambda: loss_value,
        examples=len(event.indices),
        real_tokens=real_tokens,
    )


def _refuse_not_finite(loss: float, step: int, settings: TrainSettings, which: str) -> None:
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"the {which} loss is {loss} at step {step}: training cannot go on. Try a smaller "
            f"learning rate (--set train.lr={min(settings.lr / 10, 1e-3):g}) or --precision fp32"
        )
