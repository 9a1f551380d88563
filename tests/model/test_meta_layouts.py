"""Layouts without torch's kernels for the meta device equal those of the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clsbench.model.meta_layouts import known_layouts, layout_of

aten = torch.ops.aten
META = torch.device("meta")
FLOATS = (torch.float32, torch.float64)
OTHERS = (torch.bfloat16, torch.int64, torch.bool)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def by_torch(operation: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The layouts of the results; ``None`` if torch refuses the inputs."""
    try:
        result = operation(*args, **options)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
    return [layout_of(each) for each in (result if isinstance(result, tuple) else (result,))]


IDS = meta(2, 5, dtype=torch.int64)
COMMON: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (aten.addmm.default, (meta(4), meta(6, 3), meta(3, 4)), {}),
    (aten.addmm.default, (meta(4), meta(6, 3), meta(4, 3).t()), {}),
    (aten.mm.default, (meta(6, 3), meta(3, 4)), {}),
    (aten.bmm.default, (meta(2, 6, 3), meta(2, 4, 3).transpose(1, 2)), {}),
    (aten.add.Tensor, (meta(2, 5, 8), meta(5, 8)), {}),
    (aten.sub.Tensor, (meta(2, 5, 8), meta(2, 1, 8)), {"alpha": 2}),
    (aten.mul.Tensor, (meta(2, 5, 8), 0.5), {}),
    (aten.div.Tensor, (meta(2, 5, 8), meta()), {}),
    (aten.mul.Scalar, (meta(2, 5, 4, 8).transpose(1, 2), 0.5), {}),
    (aten.gelu.default, (meta(2, 5, 8),), {"approximate": "tanh"}),
    (aten.tanh.default, (meta(2, 8),), {}),
    (aten.relu.default, (meta(2, 8),), {}),
    (aten._softmax.default, (meta(2, 5, 8), -1, False), {}),
    (aten._safe_softmax.default, (meta(2, 5, 8), -1), {}),
    (aten._log_softmax.default, (meta(2, 5, 8), 1, False), {}),
    (aten.where.self, (meta(5, 5, dtype=torch.bool), meta(), meta()), {}),
    (aten.tril.default, (meta(5, 5, dtype=torch.bool),), {}),
    (aten.clamp.default, (meta(dtype=torch.int64).expand(2), 1), {}),
    (aten.ge.Tensor, (meta(5, dtype=torch.int64), meta(2, 1, dtype=torch.int64)), {}),
    (aten.masked_fill.Scalar, (meta(2, 5, 8), meta(2, 5, 1, dtype=torch.bool), -math.inf), {}),
    (aten.sum.dim_IntList, (meta(2, 5, 8), [1]), {}),
    (aten.amax.default, (meta(2, 5, 8), [-2]), {}),
    (aten.embedding.default, (meta(10, 8), IDS), {}),
    (aten.embedding.default, (meta(10, 8), IDS, 0, False, False), {}),
    (aten.native_layer_norm.default, (meta(2, 5, 8), [8], meta(8), meta(8), 1e-5), {}),
    (aten.native_layer_norm.default, (meta(2, 5, 8), [5, 8], None, None, 1e-5), {}),
    (aten.nll_loss_forward.default,
     (meta(5, 2), meta(5, dtype=torch.int64), None, 1, -100), {}),
    (aten.arange.default, (5,), {"device": META}),
    (aten.arange.start, (2, 5), {"device": META, "dtype": torch.float32}),
    (aten.full.default, ([2, 5], 7), {"device": META}),
    (aten.full.default, ([], 0.5), {"device": META, "pin_memory": False}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "args", "options"),
    [pytest.param(*case, id=f"{case[0]}-{place}") for place, case in enumerate(COMMON)],
)
def test_layouts_of_common_operations_are_known(
    operation: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    found = known_layouts(operation, args, options)
    assert found is not None
    assert found == by_torch(operation, args, options)


sizes = st.sampled_from([1, 1, 2, 3, 0])
dtypes = st.sampled_from([*FLOATS[:1] * 6, *FLOATS, *OTHERS])


@st.composite
def tensors(draw: st.DrawFn, most_dims: int = 4) -> Tensor:
    """With permuted or repeated dimensions, gaps, or an offset."""
    shape = draw(st.lists(sizes, max_size=most_dims))
    tensor = meta(*shape, dtype=draw(dtypes))
    change = draw(st.sampled_from(["none", "none", "permute", "expand", "gaps", "slice"]))
    if change == "permute":
        return tensor.permute(draw(st.permutations(range(len(shape)))))
    if change == "expand":
        return tensor.expand(2, *shape)
    if change == "gaps" and shape:
        return meta(*shape[:-1], 2 * shape[-1], dtype=tensor.dtype)[..., ::2]
    if change == "slice" and shape:
        return meta(shape[0] + 1, *shape[1:], dtype=tensor.dtype)[1:]
    return tensor


numbers = st.sampled_from([2, 0.5, True])
operands = st.one_of(tensors(), numbers)
INPUTS: dict[Any, st.SearchStrategy[tuple[Any, ...]]] = {
    aten.addmm.default: st.tuples(tensors(3), tensors(3), tensors(3)),
    aten.mm.default: st.tuples(tensors(3), tensors(3)),
    aten.bmm.default: st.tuples(tensors(4), tensors(4)),
    **dict.fromkeys(
        (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor),
        st.tuples(tensors(), operands),
    ),
    aten.mul.Scalar: st.tuples(tensors(), numbers),
    **dict.fromkeys(
        (aten.gelu.default, aten.tanh.default, aten.relu.default), st.tuples(tensors())
    ),
    **dict.fromkeys(
        (aten._softmax.default, aten._log_softmax.default),
        st.tuples(tensors(), st.integers(-4, 3), st.booleans()),
    ),
    aten._safe_softmax.default: st.tuples(tensors(), st.integers(-4, 3)),
    aten.where.self: st.tuples(tensors(), tensors(), tensors()),
    aten.tril.default: st.tuples(tensors(), st.integers(-2, 2)),
    aten.clamp.default: st.tuples(tensors(), st.none() | numbers),
    aten.ge.Tensor: st.tuples(tensors(), tensors()),
    aten.masked_fill.Scalar: st.tuples(tensors(), tensors(), numbers),
    **dict.fromkeys(
        (aten.sum.dim_IntList, aten.amax.default),
        st.tuples(tensors(), st.lists(st.integers(-4, 3), max_size=3), st.booleans()),
    ),
    aten.embedding.default: st.tuples(tensors(2), tensors(2)),
    aten.native_layer_norm.default: st.tuples(
        tensors(3), st.lists(sizes, max_size=2), st.none() | tensors(1), st.none() | tensors(1),
        st.just(1e-5),
    ),
    aten.nll_loss_forward.default: st.tuples(
        tensors(2), tensors(1), st.none() | tensors(1), st.integers(0, 2), st.just(-100)
    ),
}  # fmt: skip


@pytest.mark.parametrize("operation", INPUTS, ids=str)
def test_layouts_equal_those_of_torch(operation: Any) -> None:
    """Or are unknown, in particular where torch refuses the inputs."""

    @given(args=INPUTS[operation])
    def check(args: tuple[Any, ...]) -> None:
        found = known_layouts(operation, args, {})
        assert found is None or found == by_torch(operation, args, {})

    check()


CREATED: list[Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]] = [
    lambda: (aten.arange.default, (2.5,), {"device": META}),
    lambda: (aten.arange.default, (-1,), {"device": META}),
    lambda: (aten.arange.start, (5, 2), {"device": META}),
    lambda: (aten.full.default, ([-1], 2), {"device": META}),
    lambda: (aten.full.default, ([2], 1j), {"device": META}),
    lambda: (aten.full.default, ([2], 1), {"device": torch.device("cpu")}),
    lambda: (aten.clamp.default, (meta(2), 0, 1), {}),
    lambda: (aten.clamp.default, (meta(2),), {"max": 1}),
    lambda: (aten.sum.dim_IntList, (meta(2, 3), [1]), {"dtype": torch.float64}),
    lambda: (aten._safe_softmax.default, (meta(2, 3), 1), {"dtype": torch.float64}),
    lambda: (aten.softmax.int, (meta(2), 0), {}),
    lambda: (aten.mul.Tensor, (torch.zeros(2), torch.zeros(2)), {}),
]


@pytest.mark.parametrize("case", CREATED)
def test_layouts_of_other_operations_are_unknown(
    case: Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]],
) -> None:
    assert known_layouts(*case()) is None
