"""The training loop: AdamW on cross-entropy, over a schedule of batches and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench.components.values import StepReport
from clsbench.errors import ClsbenchError
from clsbench.fastpath.embedding_gradients import RowGradients, rows_of_gradients
from clsbench.fastpath.forward import Forward, autocast
from clsbench.fastpath.prefix import Progress
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.experiment import TrainSettings
from clsbench.schema.record import BeforeTraining, EpochEntry, History, StepEntry, Throughput
from clsbench.training.evaluate import batch_accuracy, mean_batch_loss
from clsbench.training.schedule import Beforehand, EpochEnd, Evaluation, Event, TrainBatch


class NonFiniteLossError(ClsbenchError):
    """The loss became infinite or not a number."""


class TrainingLog:
    """The progress of training; it is consistent at any moment, so interruptions lose nothing."""

    def __init__(self) -> None:
        self.before: BeforeTraining | None = None
        self.steps: list[StepEntry] = []
        self.epochs: list[EpochEntry] = []
        self.examples = 0
        self.real_tokens = 0
        self.padded_tokens = 0
        self.train_seconds = 0.0
        self._started = time.perf_counter()

    def begin(self, forward: Forward) -> None:
        """Start training the classifier of ``forward``."""
        self._started = _seconds_without_prefix(forward)

    def seconds(self, forward: Forward) -> float:
        """Seconds since training began, including evaluations, without the time of a frozen
        prefix."""
        return _seconds_without_prefix(forward) - self._started

    def history(self) -> History:
        """The entries so far."""
        return History(before=self.before, steps=tuple(self.steps), epochs=tuple(self.epochs))

    def throughput(self) -> Throughput | None:
        """Texts and tokens per second of training, without evaluations; ``None`` before the first
        batch."""
        if self.train_seconds <= 0:
            return None
        return Throughput(
            examples_per_second=self.examples / self.train_seconds,
            real_tokens_per_second=self.real_tokens / self.train_seconds,
            padded_tokens_per_second=self.padded_tokens / self.train_seconds,
        )


def _seconds_without_prefix(forward: Forward) -> float:
    """A clock that does not count the time spent on a frozen prefix."""
    return time.perf_counter() - forward.prefix_seconds


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
    settings: TrainSettings,
    log: TrainingLog,
    hook: Any,
) -> None:
    """Train the classifier of ``forward`` in place along ``events``, and record it in ``log``.

    ``hook`` calls the lifecycle hooks. The optimizer holds only parameters that train in some
    epoch; a parameter that is frozen again keeps its value, since it has no gradient.

    Raises:
        NonFiniteLossError: names the step; the weights are those before it.
        PrefixChangedError: frozen stages have changed.
    """
    classifier = forward.classifier
    freezing.apply(classifier, freezing.ever())
    trainable = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = make_optimizer(trainable, settings, forward.device)
    with rows_of_gradients(classifier) as gradients:
        batches = BatchTraining(forward, optimizer, settings, log, gradients)
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
                _refuse_not_finite(step_entry.train_loss, event.step, settings, "training")
                _refuse_not_finite(step_entry.validation_loss, event.step, settings, "validation")
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
                hook.clsbench_epoch_finished(entry=epoch_entry)
        batches.settle()


OPTIMIZER_PASSES = 7
"""Memory passes of an AdamW step over each trained parameter: it reads the parameter, its gradient
and two moments, and writes all but the gradient."""


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainSettings, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW with the spec's settings, as a fused kernel if the device has one."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def prefix_progress(hook: Any) -> Progress:
    """Report the progress of the frozen prefix to observers."""

    def report(done: int, total: int) -> None:
        hook.clsbench_prefix_progressed(done=done, total=total)

    return report


class BatchTraining:
    """Trains batch after batch without waiting for the device; :meth:`settle` waits.

    If a loss is not finite, the device itself skips this optimizer step and all later ones, so the
    weights are those before it when the loss is checked. Batches whose texts are all excluded by
    ``train.ignore_index`` have the loss 0 and do not cause a step.
    """

    def __init__(
        self,
        forward: Forward,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        log: TrainingLog,
        gradients: RowGradients,
    ) -> None:
        self._forward = forward
        self._optimizer = optimizer
        self._settings = settings
        self._log = log
        self._gradients = gradients
        self._rows = forward.splits["train"]
        self._labels = self._rows.labels.to(forward.device)
        self._broken = torch.zeros((), dtype=torch.float32, device=forward.device)
        self._losses: list[tuple[int, Tensor]] = []
        self._step_due = False
        self._since: float | None = None
        # The CPU needs no waiting, and MPS cannot skip steps.
        self._looks_later = forward.device.type == "cuda"
        if optimizer.defaults["fused"]:
            # A fused step reads this and skips itself on the device, as with gradient scaling.
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.found_inf = self._broken  # type: ignore[attr-defined]

    def train(self, event: TrainBatch) -> StepReport:
        """Train on one batch, and take an optimizer step if it is due."""
        if self._since is None:
            self._since = _seconds_without_prefix(self._forward)
        index = torch.tensor(event.indices, dtype=torch.int64)
        logits = self._forward.logits("train", event.indices)
        ignored = self._settings.ignore_index
        # The mean over no texts is NaN, the sum is 0.
        counts = bool((self._rows.labels[index] != ignored).any())
        with autocast(self._forward.device, self._forward.precision):
            labels = self._labels[index.to(self._forward.device, non_blocking=True)]
            loss = F.cross_entropy(
                logits, labels, ignore_index=ignored, reduction="mean" if counts else "sum"
            )
        seen = loss.detach()
        self._losses.append((event.step, seen))
        if self._looks_later:
            self._broken.masked_fill_(~seen.isfinite(), 1.0)
        else:
            self._check()
        if counts:
            (loss / self._settings.accumulation).backward()  # type: ignore[no-untyped-call]
            self._step_due = True
        if event.update and self._step_due:
            self._gradients.spread()
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._step_due = False
        lengths = self._rows.lengths[index]
        real_tokens = int(lengths.sum())
        width = self._rows.input_ids.shape[1] if self._rows.padded else int(lengths.max())
        self._log.examples += len(event.indices)
        self._log.real_tokens += real_tokens
        self._log.padded_tokens += len(event.indices) * max(width, 1)
        return StepReport(
            step=event.step,
            epoch=event.epoch,
            loss=seen.item,
            examples=len(event.indices),
            real_tokens=real_tokens,
        )

    def settle(self) -> None:
        """Wait for the device, check that all losses are finite, and update the training time."""
        if self._since is None:
            return
        self._check()
        if self._forward.device.type == "cuda":
            torch.cuda.synchronize(self._forward.device)
        self._log.train_seconds += _seconds_without_prefix(self._forward) - self._since
        self._since = None

    def _check(self) -> None:
        losses, self._losses = self._losses, []
        if losses:
            values = torch.stack([loss for _, loss in losses]).tolist()
            for (step, _), value in zip(losses, values, strict=True):
                _refuse_not_finite(value, step, self._settings, "training")


def _refuse_not_finite(loss: float, step: int, settings: TrainSettings, which: str) -> None:
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"the {which} loss is {loss} at step {step}: training cannot go on. Try a smaller "
            f"learning rate (--set train.lr={min(settings.lr / 10, 1e-3):g}) or --precision fp32"
        )
