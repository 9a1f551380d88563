"""Training on one batch after another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clsbench.components.values import StepReport
from clsbench.errors import ClsbenchError
from clsbench.fastpath.embedding_gradients import RowGradients
from clsbench.fastpath.forward import Forward, autocast
from clsbench.schema.training import TrainSettings
from clsbench.training.log import TrainingLog, seconds_without_prefix
from clsbench.training.recipe import LearningRates, Recipe, build_loss
from clsbench.training.schedule import TrainBatch


class NonFiniteLossError(ClsbenchError):
    """The loss became infinite or not a number."""


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
        recipe: Recipe,
        log: TrainingLog,
        gradients: RowGradients,
    ) -> None:
        self._forward = forward
        self._optimizer = optimizer
        self._settings = recipe.settings
        self._loss = build_loss(recipe)
        self._rates = LearningRates(optimizer, recipe.factors)
        self._log = log
        self._gradients = gradients
        self._rows = forward.splits["train"]
        self._labels = self._rows.labels.to(forward.device)
        self._ignores = bool((self._rows.labels == recipe.settings.ignore_index).any())
        self._broken = torch.zeros((), dtype=torch.float32, device=forward.device)
        self._losses: list[tuple[int, Tensor]] = []
        self._step_due = False
        self._since: float | None = None
        fused = bool(optimizer.defaults.get("fused"))
        # The CPU needs no waiting, and MPS and other optimizers cannot skip steps.
        self._looks_later = forward.device.type == "cuda" and fused
        if fused:
            # A fused step reads this and skips itself on the device, as with gradient scaling.
            optimizer.grad_scale = None  # type: ignore[attr-defined]
            optimizer.found_inf = self._broken  # type: ignore[attr-defined]

    def train(self, event: TrainBatch) -> StepReport:
        """Train on one batch, and take an optimizer step if it is due."""
        if self._since is None:
            self._since = seconds_without_prefix(self._forward)
        loss, passes = self._learn(event)
        lengths = self._rows.lengths[torch.tensor(event.indices, dtype=torch.int64)]
        examples, real_tokens = passes * len(event.indices), passes * int(lengths.sum())
        width = self._rows.input_ids.shape[1] if self._rows.padded else int(lengths.max())
        self._log.examples += examples
        self._log.real_tokens += real_tokens
        self._log.padded_tokens += examples * max(width, 1)
        return StepReport(
            step=event.step,
            epoch=event.epoch,
            loss=loss.item,
            examples=examples,
            real_tokens=real_tokens,
        )

    def _learn(self, event: TrainBatch) -> tuple[Tensor, int]:
        """The loss () of the batch, and how often its texts were computed."""
        index = torch.tensor(event.indices, dtype=torch.int64)
        loss, count = self._batch_loss(self._forward.logits("train", event.indices), index)
        seen = loss.detach()
        self._losses.append((event.step, seen))
        if self._looks_later:
            self._broken.masked_fill_(~seen.isfinite(), 1.0)
        else:
            self._check()
        if count:
            (loss / self._settings.accumulation).backward()  # type: ignore[no-untyped-call]
            self._step_due = True
        if event.update:
            self._rates.advance()
        if event.update and self._step_due:
            self._gradients.spread()
            self._clip()
            self._optimizer.step()
            self._optimizer.zero_grad()
            self._step_due = False
        return seen, 1

    def _batch_loss(self, logits: Tensor, index: Tensor) -> tuple[Tensor, int]:
        """The loss () of the texts at ``index`` (B,), and the number of texts that count."""
        count, device = self._counted(index), self._forward.device
        if not count:
            return logits.new_zeros(()), 0
        with autocast(device, self._forward.precision):
            if count < len(index):
                kept = (self._rows.labels[index] != self._settings.ignore_index).nonzero()[:, 0]
                logits, index = logits[kept.to(device, non_blocking=True)], index[kept]
            labels = self._labels[index.to(device, non_blocking=True)]
            return self._loss(logits, labels), count

    def _counted(self, index: Tensor) -> int:
        """The number of texts at ``index`` (B,) that are not ignored."""
        if not self._ignores:
            return len(index)
        return int((self._rows.labels[index] != self._settings.ignore_index).sum())

    def _clip(self) -> None:
        """Scale the gradients of the step down to the largest norm, if there is one."""
        if largest := self._settings.gradient_clipping:
            groups = self._optimizer.param_groups
            torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], largest)

    def settle(self) -> None:
        """Wait for the device, check that all losses are finite, and update the training time."""
        if self._since is None:
            return
        self._check()
        if self._forward.device.type == "cuda":
            torch.cuda.synchronize(self._forward.device)
        self._log.train_seconds += seconds_without_prefix(self._forward) - self._since
        self._since = None

    def _check(self) -> None:
        losses, self._losses = self._losses, []
        if losses:
            values = torch.stack([loss for _, loss in losses]).tolist()
            for (step, _), value in zip(losses, values, strict=True):
                refuse_not_finite(value, step, self._settings, "training")


def refuse_not_finite(loss: float, step: int, settings: TrainSettings, which: str) -> None:
    """Check a loss.

    Raises:
        NonFiniteLossError: it is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"the {which} loss is {loss} at step {step}: training cannot go on. Try a smaller "
            f"learning rate (--set train.lr={min(settings.lr / 10, 1e-3):g}) or --precision fp32"
        )
