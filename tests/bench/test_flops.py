"""Counted operations against closed formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clsbench.bench.flops import count_flops


def test_a_linear_layer_forward_and_backward() -> None:
    layer, inputs = nn.Linear(24, 40), torch.rand(16, 24, requires_grad=True)
    product = 2 * 16 * 24 * 40
    assert count_flops(lambda: layer(inputs)) == product
    assert count_flops(lambda: layer(inputs).sum().backward()) == 3 * product
    layer.requires_grad_(False)
    assert count_flops(lambda: layer(inputs).sum().backward()) == 2 * product


@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_backward_pass(causal: bool) -> None:
    batch, heads, tokens, width = 2, 3, 32, 16
    query, key, value = (
        torch.rand(batch, heads, tokens, width, requires_grad=True) for _ in range(3)
    )

    def attend() -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)

    product = 2 * batch * heads * tokens * tokens * width // (2 if causal else 1)
    assert count_flops(attend) == 2 * product
    # Scores are computed anew, and four products give the gradients.
    assert count_flops(lambda: attend().sum().backward()) == (2 + 5) * product


def test_what_works_element_by_element_does_not_count() -> None:
    assert count_flops(lambda: torch.rand(64, 64).tanh() + 1) == 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["flash", "efficient", "cudnn"])
def test_attention_as_gpus_do_it(kind: str, causal: bool) -> None:
    """Dispatched without a GPU: on the meta device there are shapes alone."""
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
