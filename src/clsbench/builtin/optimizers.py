"""Optimizers: update the trained parameters from their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

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


class LBFGS(clsbench.Optimizer, frozen=True):
    """L-BFGS on the whole training split, for few parameters behind frozen stages.

    An epoch is one step of up to ``iterations`` evaluations of the loss; use it with
    ``train.lr=1``. Weight decay is a penalty of half its value on the sum of squares, for the loss
    to have a minimum. Source: Liu and Nocedal, *On the Limited Memory BFGS Method for Large Scale
    Optimization*, 1989, as torch has it.
    """

    full_batch: ClassVar[bool] = True

    iterations: Annotated[int, Meta(ge=1, description="iterations in a step, so in an epoch")] = 20
    history: Annotated[int, Meta(ge=1, description="earlier updates that are remembered")] = 10
    line_search: Annotated[
        bool, Meta(description="search each step's length by the strong Wolfe conditions")
    ] = True

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """torch's L-BFGS, with weight decay."""
        from clsbench.builtin.penalized_lbfgs import PenalizedLBFGS

        if len(groups) > 1:
            raise clsbench.UsageError(
                "the optimizer lbfgs has a single learning rate; set train.layer_decay=1"
            )
        search = "strong_wolfe" if self.line_search else None
        return PenalizedLBFGS(groups, weight_decay, self.iterations, self.history, search)

    def state_size(self) -> float:
        """Two vectors for each remembered update, two gradients, direction and a copy."""
        return 2.0 * self.history + 4.0

    def memory_passes(self) -> float:
        """In each iteration, the remembered updates are read twice."""
        return self.iterations * (4.0 * self.history + 8.0)

    def evaluations(self) -> int:
        """torch's limit on evaluations in a step."""
        return max(self.iterations * 5 // 4, 1)


def _fused(groups: Sequence[dict[str, Any]]) -> bool:
    return all(p.device.type in _FUSED_ON for group in groups for p in group["params"])


@clsbench.hookimpl
def clsbench_register_optimizers() -> dict[str, type[clsbench.Optimizer]]:
    """The built-in optimizers."""
    return {"adamw": AdamW, "sgd": SGD, "adafactor": Adafactor, "lbfgs": LBFGS}
