"""Heads: map the pooled vector of a text to class logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import nn


class Linear(clsbench.Head, frozen=True):
    """One linear layer with bias and PyTorch's default initialization.

    Source: *Build a Large Language Model (From Scratch)*, section 6.5.
    """

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layer (B, H) → (B, C)."""
        from torch import nn

        return nn.Linear(hidden_size, num_classes)


class Mlp(clsbench.Head, frozen=True):
    """Two linear layers with GELU between them."""

    width: (
        Annotated[int, Meta(ge=1, description="hidden features (default: the backbone's width)")]
        | None
    ) = None
    dropout: Annotated[
        float, Meta(ge=0, lt=1, description="probability of dropping a hidden feature")
    ] = 0.0

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layers (B, H) → (B, width) → (B, C)."""
        from torch import nn

        width = hidden_size if self.width is None else self.width
        return nn.Sequential(
            nn.Linear(hidden_size, width),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(width, num_classes),
        )


@clsbench.hookimpl
def clsbench_register_heads() -> dict[str, type[clsbench.Head]]:
    """The built-in heads."""
    return {"linear": Linear, "mlp": Mlp}
