from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import clsbench
from clsbench.testing import check_optimizer


class Ascending(clsbench.Optimizer, frozen=True):
    """Maximizes the loss."""

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """SGD in the wrong direction."""
        return torch.optim.SGD(groups, maximize=True)


class Partial(clsbench.Optimizer, frozen=True):
    """Trains the first parameter alone."""

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """SGD of one parameter."""
        return torch.optim.SGD(groups[0]["params"][:1], lr=groups[0]["lr"])


class OneRate(clsbench.Optimizer, frozen=True):
    """Ignores the learning rates of the groups."""

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """SGD that keeps its own rate."""
        return Stubborn(groups, lr=0.05)


class Stubborn(torch.optim.SGD):
    """SGD with a rate that cannot be changed."""

    def step(self, closure: Any = None) -> Any:
        """A step at 0.05."""
        for group in self.param_groups:
            group["lr"] = 0.05
        return super().step(closure)


class Drawing(clsbench.Optimizer, frozen=True):
    """Adds noise from the global generator."""

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """SGD with noise."""
        return Noisy(groups)


class Noisy(torch.optim.SGD):
    """SGD whose gradients are scaled at random."""

    def step(self, closure: Any = None) -> Any:
        """A step with random lengths."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad *= torch.rand(())
        return super().step(closure)


class Decaying(clsbench.Optimizer, frozen=True):
    """Shrinks every parameter, also without a gradient."""

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """SGD that shrinks."""
        return Shrinking(groups, weight_decay=weight_decay)


class Shrinking(torch.optim.SGD):
    """SGD that shrinks every parameter if there is weight decay."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """A step, then shrink."""
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter *= 1 - group["weight_decay"] * group["lr"]


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Ascending(), "change a quadratic loss"),
        (Partial(), "does not hold the given parameters"),
        (OneRate(), "in a group with the learning rate 0 changes"),
        (Drawing(), "two trainings give different parameters"),
        (Decaying(), "changes a parameter without a gradient"),
    ],
)
def test_check_optimizer_broken_contract_is_found(optimizer: clsbench.Optimizer, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_optimizer(optimizer)
