"""Optimizers: update the trained parameters from their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    import torch

_FUSED_ON = ("cpu", "cuda")
"""The devices for which torch has fused steps."""


class AdamW(clsbench.Optimizer, frozen=True):
    """Adam with decoupled weight decay, as a fused kernel if the device has one.

    Source: Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, 2019.
    """

    beta1: Annotated[float, Meta(ge=0, lt=1, description="decay of the mean of gradients")] = 0.9
    beta2: Annotated[
        float, Meta(ge=0, lt=1, description="decay of the mean of squared gradients")
    ] = 0.999
    eps: Annotated[float, Meta(gt=0, description="added to the denominator")] = 1e-8

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """torch's AdamW."""
        from torch.optim import AdamW

        return AdamW(
            groups,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=weight_decay,
            fused=_fused(groups),
        )

    def state_size(self) -> float:
        """The means of gradients and of squared gradients."""
        return 2.0


class SGD(clsbench.Optimizer, frozen=True):
    """Stochastic gradient descent with momentum, as a fused kernel if the device has one."""

    momentum: Annotated[
        float, Meta(ge=0, lt=1, description="share of the last update in the next; 0: none")
    ] = 0.9
    nesterov: Annotated[bool, Meta(description="Nesterov momentum")] = False

    def __post_init__(self) -> None:
        """Refuse Nesterov momentum without momentum."""
        if self.nesterov is True and self.momentum == 0:
            raise ValueError("nesterov=true requires a momentum above 0")

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """torch's SGD, with weight decay as an L2 penalty."""
        from torch.optim import SGD

        return SGD(
            groups,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=weight_decay,
            fused=_fused(groups),
        )

    def state_size(self) -> float:
        """The last update, with momentum."""
        return 1.0 if self.momentum else 0.0


class Adafactor(clsbench.Optimizer, frozen=True):
    """Adam without a mean of gradients, with factored squares: almost no memory for its state.

    Source: Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*,
    2018, as torch has it: ``train.lr`` is the largest relative step size.
    """

    beta2_decay: Annotated[
        float, Meta(le=0, description="exponent by which the decay of squares approaches 1")
    ] = -0.8
    clipping: Annotated[
        float, Meta(ge=1, description="largest root mean square of an update before scaling")
    ] = 1.0

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """torch's Adafactor."""
        from torch.optim import Adafactor

        return Adafactor(
            groups, beta2_decay=self.beta2_decay, d=self.clipping, weight_decay=weight_decay
        )

    def memory_passes(self) -> float:
        """Counted in torch's implementation for a matrix, whose operations are not fused."""
        return 19.0


def _fused(groups: Sequence[dict[str, Any]]) -> bool:
    return all(p.device.type in _FUSED_ON for group in groups for p in group["params"])


@clsbench.hookimpl
def clsbench_register_optimizers() -> dict[str, type[clsbench.Optimizer]]:
    """The built-in optimizers."""
    return {"adamw": AdamW, "sgd": SGD, "adafactor": Adafactor}
