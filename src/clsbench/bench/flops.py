"""Count the floating-point operations of a call's matrix products, as torch dispatches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from clsbench.system.dispatch_mode import DispatchMode


def count_flops(call: Callable[[], object]) -> int:
    """Count the operations of one call, forward and backward; a multiply-add counts as two.

    Matrix products are counted, including attention (half of the products if it is causal);
    elementwise operations are not.

    Source: ``torch.utils.flop_counter``, which omits attention on CPUs and ignores causality.
    """
    with OperationCounter() as counter:
        call()
    return int(sum(flops for flops, _ in counter.operations))


class OperationCounter(DispatchMode):
    """Counts the operations in its block as (FLOPs, bytes moved); views count as zero."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[float, float]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        flops = 0.0
        if attention := _ATTENTION.get(func.overloadpacket):
            shapes = tree_map(lambda v: v.shape if isinstance(v, Tensor) else v, args)
            flops = float(attention(*shapes, **(kwargs or {})))
        elif formula := flop_registry.get(func.overloadpacket):
            flops = float(formula(*args, **(kwargs or {}), out_val=result))
        written = _bytes(result)
        # A lookup reads only the rows that it returns, not the whole table.
        read = written if func.overloadpacket in _LOOK_UPS else _bytes((args, kwargs))
        self.operations.append((flops, read + written))
        return result


_LOOK_UPS = (
    torch.ops.aten.embedding,
    torch.ops.aten.index_select,
    torch.ops.aten.index,
    torch.ops.aten.gather,
)


def _bytes(values: Any) -> float:
    """The size of dense tensors in bytes; sparse gradients, which have no ``nbytes``, are small."""
    tensors = [v for v in tree_leaves(values) if isinstance(v, Tensor)]
    return float(sum(tensor.nbytes for tensor in tensors if tensor.layout == torch.strided))


def _causal_halved(operation: Any, backward: bool) -> Callable[..., int]:
    """The FLOPs of attention, given shapes instead of tensors."""
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
