"""Floating-point operations of a call: of its matrix products, as torch dispatches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def count_flops(call: Callable[[], object]) -> int:
    """The operations of one call, forward and backward; a multiplication with its addition is two.

    Products of matrices count, attention among them (a causal one needs half of its products);
    what works element by element does not.

    Source: ``torch.utils.flop_counter``, which leaves out attention on CPUs.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ON_CPUS)
    with counter:
        call()
    return int(counter.get_total_flops())


def _attention(
    query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, *_: Any, **__: Any
) -> int:
    flops = cast(Callable[..., int], sdpa_flop_count)
    return flops(query, key, value) // (2 if causal else 1)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, dropout: float,
    causal: bool, *_: Any, **__: Any,
) -> int:  # fmt: skip
    flops = cast(Callable[..., int], sdpa_backward_flop_count)
    return flops(grad, query, key, value) // (2 if causal else 1)


_ON_CPUS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
