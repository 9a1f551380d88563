"""Losses: the functions that training minimizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import Tensor

ClassWeights = Annotated[
    Literal["none", "balanced"],
    Meta(description="balanced: weight a class by the inverse of its share of the training texts"),
]


class CrossEntropy(clsbench.Loss, frozen=True):
    """The mean cross-entropy of the texts, with class weights as a weighted mean."""

    class_weights: ClassWeights = "none"
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1, description="probability spread evenly over all classes")
    ] = 0.0

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """torch's cross-entropy."""
        import torch.nn.functional as F

        weights = _weights(self.class_weights, class_counts)

        def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
            weight = None if weights is None else _like(weights, logits)
            return F.cross_entropy(
                logits, labels, weight=weight, label_smoothing=self.label_smoothing
            )

        return cross_entropy


class Focal(clsbench.Loss, frozen=True):
    """Cross-entropy that counts a text the less, the more probable its class already is.

    The loss of a text is ``-(1 - p) ** gamma * log(p)``, with ``p`` the probability of its class.
    Source: Lin et al., *Focal Loss for Dense Object Detection*, 2017, with softmax.
    """

    gamma: Annotated[
        float, Meta(ge=0, le=100, description="focus on hard texts; 0: cross-entropy")
    ] = 2.0
    class_weights: ClassWeights = "none"

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """The mean focal loss, with class weights as a weighted mean."""
        import torch
        import torch.nn.functional as F

        weights = _weights(self.class_weights, class_counts)

        def focal(logits: Tensor, labels: Tensor) -> Tensor:
            log_p = F.log_softmax(logits, dim=-1).gather(1, labels[:, None])[:, 0]
            # The power has no finite gradient at 0 for an exponent below 1.
            misses = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
            losses = -(misses**self.gamma) * log_p
            if weights is None:
                return losses.mean()
            weight = _like(weights, logits)[labels]
            return (weight * losses).sum() / weight.sum()

        return focal


class BinaryCrossEntropy(clsbench.Loss, frozen=True):
    """For any number of labels per text: the mean binary cross-entropy of texts and labels."""

    tasks = ("multi-label",)

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """torch's binary cross-entropy with logits."""
        import torch.nn.functional as F

        return lambda logits, labels: F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype)
        )


def _weights(kind: str, class_counts: Sequence[int]) -> Tensor | None:
    """The weight of each class (C,) float64, with a mean of 1 over the training texts; 0 for a
    class without texts."""
    import torch

    if kind == "none":
        return None
    counts = torch.tensor(class_counts, dtype=torch.float64)
    present = counts > 0
    share = counts / counts.sum() * present.sum()
    return torch.where(present, 1 / share.clamp(min=1e-300), torch.zeros_like(share))


def _like(weights: Tensor, logits: Tensor) -> Tensor:
    """The weights on the device of the logits, in at least single precision."""
    import torch

    dtype = torch.promote_types(logits.dtype, torch.float32)
    return weights.to(logits.device, dtype, non_blocking=True)  # without waiting for a GPU


@clsbench.hookimpl
def clsbench_register_losses() -> dict[str, type[clsbench.Loss]]:
    """The built-in losses."""
    return {
        "cross-entropy": CrossEntropy,
        "focal": Focal,
        "binary-cross-entropy": BinaryCrossEntropy,
    }
