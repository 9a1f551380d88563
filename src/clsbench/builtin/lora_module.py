"""Linear layers with a low-rank update."""

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
        self.lora_A, self.lora_B = _update_of(
            linear.weight, self.in_features, self.out_features, rank
        )
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        rows = input.reshape(-1, self.in_features)
        out = _add_update(super().forward(rows), rows, self.lora_A, self.lora_B, self.alpha)
        return out.view(*input.shape[:-1], self.out_features)

    def merged(self) -> nn.Linear:
        """A linear layer with the update in its weight; it has the same parameters otherwise."""
        has_bias = self.bias is not None
        linear = nn.Linear(self.in_features, self.out_features, has_bias, device="meta")
        linear.weight = _merged(self.weight, self.alpha * (self.lora_A @ self.lora_B).T)
        linear.register_parameter("bias", self.bias)
        return linear.train(self.training)

    def extra_repr(self) -> str:
        """The representation of the linear layer, with rank and alpha."""
        return f"{super().extra_repr()}, rank={self.lora_A.shape[1]}, alpha={self.alpha:g}"


class LoRAConv1D(nn.Module):
    """A layer of transformers' class ``Conv1D`` with a low-rank update. (…, in) → (…, out).

    That class, which GPT-2 uses, is a linear layer whose weight is (in, out). Parameters are named
    as in :class:`LoRALinear`.
    """

    def __init__(self, conv: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        self.kind = type(conv)
        self.alpha = alpha
        self.weight = conv.get_parameter("weight")
        self.bias = conv.get_parameter("bias")
        self.in_features, self.out_features = self.weight.shape
        self.lora_A, self.lora_B = _update_of(
            self.weight, self.in_features, self.out_features, rank
        )
        self.train(conv.training)

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        rows = input.reshape(-1, self.in_features)
        plain = torch.addmm(self.bias, rows, self.weight)
        out = _add_update(plain, rows, self.lora_A, self.lora_B, self.alpha)
        return out.view(*input.shape[:-1], self.out_features)

    def merged(self) -> nn.Module:
        """A layer of the original class with the update in its weight."""
        with torch.device("meta"):
            conv: nn.Module = self.kind(self.out_features, self.in_features)
        conv.weight = _merged(self.weight, self.alpha * self.lora_A @ self.lora_B)
        conv.bias = self.bias
        return conv.train(self.training)


def _update_of(
    weight: Tensor, in_features: int, out_features: int, rank: int
) -> tuple[nn.Parameter, nn.Parameter]:
    """A (in, rank) and B (rank, out) for a layer with this weight."""
    # Drawn on the CPU in float32, so that a seed means the same numbers everywhere; a layer
    # without data (on the meta device) draws nothing.
    device = torch.device("meta" if weight.is_meta else "cpu")
    lora_a = torch.empty(in_features, rank, dtype=torch.float32, device=device)
    nn.init.kaiming_uniform_(lora_a, a=math.sqrt(5))
    return nn.Parameter(lora_a.to(weight)), nn.Parameter(weight.new_zeros(rank, out_features))


def _add_update(out: Tensor, rows: Tensor, lora_a: Tensor, lora_b: Tensor, alpha: float) -> Tensor:
    """Add ``alpha · (rows A B)`` to ``out``, in place."""
    # Scaled and added within the product, to avoid further tensors of the output's size.
    lora_b = lora_b.to(out.dtype)  # autocast does not affect in-place operations
    return out.addmm_(rows @ lora_a, lora_b, alpha=alpha)


def _merged(weight: Tensor, update: Tensor) -> nn.Parameter:
    return nn.Parameter((weight + update).detach())


def add_lora(module: nn.Module, rank: int, alpha: float) -> None:
    """Replace every linear layer below ``module``, depth first in the order of its children."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LoRALinear(child, rank, alpha))
        elif _is_conv1d(child):
            setattr(module, name, LoRAConv1D(child, rank, alpha))
        else:
            add_lora(child, rank, alpha)


def has_lora(module: nn.Module) -> bool:
    """Whether a layer below ``module`` has an update."""
    return any(isinstance(each, LoRALinear | LoRAConv1D) for each in module.modules())


def merge_lora(module: nn.Module) -> None:
    """Replace every layer with an update below ``module`` by one that has it in its weight."""
    for name, child in list(module.named_children()):
        if isinstance(child, LoRALinear | LoRAConv1D):
            setattr(module, name, child.merged())
        else:
            merge_lora(child)


def _is_conv1d(module: nn.Module) -> bool:
    """Whether it is of transformers' class ``Conv1D``, which is not imported here."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")
