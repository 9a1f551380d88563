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

    Source: ``torch.utils.flop_counter``, which leaves out attention on CPUs, and does not look
    whether it is causal.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_ATTENTION)
    with counter:
        call()
    return int(counter.get_total_flops())


def _causal_halved(operation: Any, backward: bool) -> Callable[..., int]:
    """The formula of an attention; it is handed shapes in place of tensors."""
    names = [argument.name for argument in operation.default._schema.arguments]
    place = names.index("is_causal")
    count = cast(Callable[..., int], sdpa_backward_flop_count if backward else sdpa_flop_count)

    def flops(*args: Any, is_causal: bool = False, **_: Any) -> int:
        causal = args[place] if len(args) > place else is_causal
        return count(*args[: 4 if backward else 3]) // (2 if causal else 1)

    return flops


_ATTENTION = {
    operation: _causal_halved(operation, backward)
    for name in ("flash_attention_for_cpu", "flash_attention", "efficient_attention",
                 "cudnn_attention")
    for backward in (False, True)
    for operation in [
        getattr(torch.ops.aten, f"_scaled_dot_product_{name}{'_backward' if backward else ''}")
    ]
}  # fmt: skip
