"""A linear layer with a low-rank update."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LoRALinear(nn.Linear):
    """A linear layer that adds ``alpha · (x A B)`` to its output. (…, in) → (…, out).

    Keeps the parameters of the wrapped layer under their names; A (in, rank) and B (rank, out) are
    ``lora_A`` and ``lora_B``. B is zero initially, so the output is unchanged.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would draw unused weights
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.alpha = alpha
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        # Drawn on the CPU in float32, so that a seed means the same numbers everywhere; a layer
        # without data (on the meta device) draws nothing.
        device = torch.device("meta" if linear.weight.is_meta else "cpu")
        lora_a = torch.empty(linear.in_features, rank, dtype=torch.float32, device=device)
        nn.init.kaiming_uniform_(lora_a, a=math.sqrt(5))
        self.lora_A = nn.Parameter(lora_a.to(linear.weight))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(rank, linear.out_features))
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        rows = input.reshape(-1, self.in_features)
        # Scaled and added within the product, to avoid further tensors of the output's size.
        out = super().forward(rows)
        lora_b = self.lora_B.to(out.dtype)  # autocast does not affect in-place operations
        out.addmm_(rows @ self.lora_A, lora_b, alpha=self.alpha)
        return out.view(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """The representation of the linear layer, with rank and alpha."""
        return f"{super().extra_repr()}, rank={self.lora_A.shape[1]}, alpha={self.alpha:g}"


def add_lora(module: nn.Module, rank: int, alpha: float) -> None:
    """Replace every linear layer below ``module``, depth first in the order of its children."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LoRALinear(child, rank, alpha))
        else:
            add_lora(child, rank, alpha)
