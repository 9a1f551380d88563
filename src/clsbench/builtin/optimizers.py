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


def _fused(groups: Sequence[dict[str, Any]]) -> bool:
    return all(p.device.type in _FUSED_ON for group in groups for p in group["params"])


@clsbench.hookimpl
def clsbench_register_optimizers() -> dict[str, type[clsbench.Optimizer]]:
    """The built-in optimizers."""
    return {"adamw": AdamW}
