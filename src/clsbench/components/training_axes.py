"""The axes of the training recipe: optimizers, schedules of the learning rate, and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from clsbench.components.component import Component, unwritten
from clsbench.components.labels import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    LossFunction = Callable[[Tensor, Tensor], Tensor]


class Optimizer(Component, frozen=True):
    """Updates the trained parameters from their gradients."""

    full_batch: ClassVar[bool] = False
    """Whether ``step(closure)`` evaluates the loss of the whole training split, repeatedly.

    An epoch is then one step, whose closure computes loss and gradients over the split in batches
    of ``train.batch_size``.
    """

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """The optimizer of these parameter groups, each with ``params`` and ``lr`` set.

        ``weight_decay`` is ``train.weight_decay``; apply it in the way of the optimizer. It is also
        built for parameters on the meta device, when a run is planned.

        Raises:
            UsageError: the options, or several groups, do not fit this optimizer.
        """
        raise unwritten(self, "build")

    def state_size(self) -> float:
        """The numbers that the optimizer keeps for each trained parameter: 2 for AdamW."""
        return 0.0

    def memory_passes(self) -> float:
        """How often a step reads or writes memory of the size of the trained parameters.

        By default it reads the parameters, their gradients and its state, and writes all but the
        gradients.
        """
        return 3.0 + 2.0 * self.state_size()

    def evaluations(self) -> int:
        """The most evaluations of the loss in one step, for estimates; more than 1 with a
        closure."""
        return 1


class Schedule(Component, frozen=True):
    """Sets the learning rate of every step of the optimizer. A pure function, without torch."""

    def factor(self, step: int, steps: int) -> float:
        """The factor on the learning rate at ``step``, counted from 0, of ``steps`` in all."""
        raise unwritten(self, "factor")


class Loss(Component, frozen=True):
    """The function that training minimizes.

    ``tasks: ClassVar`` are the shapes of labels that it accepts.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("single-label",)

    def build(self, class_counts: Sequence[int]) -> LossFunction:
        """A function ``(logits (B, C), labels (B,) int64) -> loss ()``, a mean over the texts.

        For the task ``multi-label``, labels are (B, C) bool.

        ``class_counts`` holds the number of training texts of each class. Texts whose class is
        ``train.ignore_index`` are counted as 0 and left out of the batches.
        """
        raise unwritten(self, "build")
