"""Training with an optimizer that needs the loss of the whole training split."""

from __future__ import annotations

import torch
from torch import Tensor

from clsbench.errors import UsageError
from clsbench.fastpath.plan import PREFIX, FastPlan
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.experiment import format_component
from clsbench.training.batches import BatchTraining, refuse_not_finite
from clsbench.training.recipe import Recipe
from clsbench.training.schedule import TrainBatch


def check_full_batch(recipe: Recipe, freezing: FreezingPlan, plan: FastPlan) -> None:
    """Check that an optimizer that needs the whole split fits the experiment.

    A step evaluates the loss of the split many times, which is only feasible with kept activations.

    Raises:
        UsageError: it does not fit.
    """
    if not recipe.optimizer.full_batch:
        return
    settings = recipe.settings
    name = f"train.optimizer = {format_component(settings.optimizer)} trains on the whole split"
    if settings.accumulation > 1:
        raise UsageError(f"{name}; set train.accumulation=1 (it is {settings.accumulation})")
    if settings.gradient_clipping:
        raise UsageError(f"{name} and does not clip gradients; set train.gradient_clipping=0")
    if len(set(freezing.by_epoch)) > 1:
        raise UsageError(
            f"{name} and needs the same parameters in every epoch; choose another freezing strategy"
        )
    if not all(epoch.cut for epoch in plan.epochs):
        (reason,) = (s.detail for s in plan.shortcuts if s.name == PREFIX)
        raise UsageError(
            f"{name} many times, so what trains must lie behind frozen stages whose activations "
            f"are kept. They are not: {reason}. Freeze more (--freezing head-only), or choose "
            "another optimizer"
        )


class FullBatchTraining(BatchTraining):
    """Trains with steps on all texts of an event, in batches of ``train.batch_size``.

    The loss of a step is the mean of the batches' losses, weighted by their numbers of texts. If it
    is not finite at the start or the parameters are not at the end, the weights are those before.
    """

    def _learn(self, event: TrainBatch) -> tuple[Tensor, int]:
        size = self._settings.batch_size
        parts = [event.indices[at : at + size] for at in range(0, len(event.indices), size)]
        counted = self._counted(torch.tensor(event.indices, dtype=torch.int64))
        parameters = [p for g in self._optimizer.param_groups for p in g["params"]]
        before = [p.detach().clone() for p in parameters]
        losses: list[Tensor] = []

        def closure() -> Tensor:
            self._optimizer.zero_grad()
            total = self._broken.new_zeros(())
            for indices in parts:
                index = torch.tensor(indices, dtype=torch.int64)
                loss, count = self._batch_loss(self._forward.logits("train", indices), index)
                if count:
                    part = loss * (count / counted)
                    part.backward()  # type: ignore[no-untyped-call]
                    total = total + part.detach()
            self._gradients.spread()
            if not losses:
                refuse_not_finite(float(total), event.step, self._settings, "training")
            losses.append(total)
            return total

        self._rates.advance()
        if not counted:
            return self._broken.new_zeros(()), 1
        self._optimizer.step(closure)  # type: ignore[arg-type]  # a tensor will do
        self._optimizer.zero_grad()
        if not all(bool(p.isfinite().all()) for p in parameters):
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            refuse_not_finite(float("nan"), event.step, self._settings, "training")
        return losses[0], len(losses)
