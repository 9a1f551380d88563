"""Counted operations against closed formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clsbench.bench.flops import count_flops


def test_count_flops_linear_layer_counts_forward_and_backward() -> None:
    layer, inputs = nn.Linear(24, 40), torch.rand(16, 24, requires_grad=True)
    product = 2 * 16 * 24 * 40
    assert count_flops(lambda: layer(inputs)) == product
    assert count_flops(lambda: layer(inputs).sum().backward()) == 3 * product
    layer.requires_grad_(False)
    assert count_flops(lambda: layer(inputs).sum().backward()) == 2 * product


@pytest.mark.parametrize("causal", [False, True])
def test_count_flops_attention_counts_forward_and_backward(causal: bool) -> None:
    batch, heads, tokens, width = 2, 3, 32, 16
    query, key, value = (
        torch.rand(batch, heads, tokens, width, requires_grad=True) for _ in range(3)
    )

    def attend() -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)

    product = 2 * batch * heads * tokens * tokens * width // (2 if causal else 1)
    assert count_flops(attend) == 2 * product
    # The scores are recomputed, and the gradients take four products.
    assert count_flops(lambda: attend().sum().backward()) == (2 + 5) * product


def test_count_flops_elementwise_operations_are_zero() -> None:
    assert count_flops(lambda: torch.rand(64, 64).tanh() + 1) == 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["flash", "efficient", "cudnn"])
def test_count_flops_gpu_attention_kernels_are_counted(kind: str, causal: bool) -> None:
    """Needs no GPU: the meta device has only shapes."""
    batch, heads, tokens, width = 2, 3, 32, 16
    query, key, value = (
        torch.empty(batch, heads, tokens, width, device="meta", dtype=torch.float16)
        for _ in range(3)
    )
    aten = torch.ops.aten

    def attend() -> None:
        if kind == "flash":
            aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal)
        elif kind == "efficient":
            aten._scaled_dot_product_efficient_attention(
                query, key, value, None, True, 0.0, is_causal=causal
            )
        else:
            aten._scaled_dot_product_cudnn_attention(query, key, value, None, True, 0.0, causal)

    product = 2 * batch * heads * tokens * tokens * width // (2 if causal else 1)
    assert count_flops(attend) == 2 * product
