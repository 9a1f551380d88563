from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import clsbench
from clsbench.testing import check_loss


class Sum(clsbench.Loss, frozen=True):
    """The sum instead of the mean."""

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """The sum."""
        return lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum")


class First(clsbench.Loss, frozen=True):
    """Reads the first text alone."""

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of the first text."""
        return lambda logits, labels: F.cross_entropy(logits[:1], labels[:1])


class Reward(clsbench.Loss, frozen=True):
    """The wrong sign."""

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Higher for right logits."""
        return lambda logits, labels: -F.cross_entropy(logits, labels)


class Inverse(clsbench.Loss, frozen=True):
    """Divides by the number of texts of a class, which may be 0."""

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Infinite for a class without texts."""
        weights = 1 / torch.tensor(class_counts)
        return lambda logits, labels: F.cross_entropy(logits, labels) * weights.mean()


class ByText(clsbench.Loss, frozen=True):
    """Not reduced."""

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """One loss for each text."""
        return lambda logits, labels: F.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (Sum(), "if every text is repeated"),
        (First(), "in another order of the texts"),
        (Reward(), "not lower for right logits"),
        (Inverse(), "expected a finite value"),
        (ByText(), r"the shape \(6,\)"),
    ],
)
def test_check_loss_broken_contract_is_found(loss: clsbench.Loss, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_loss(loss)
