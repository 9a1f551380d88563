"""Operations on the meta device give the same results with and without reuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm
from torch.utils._python_dispatch import TorchDispatchMode

from clsbench.model.meta_results import MetaResults


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that reach it, except the creation of empty tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += func.overloadpacket != torch.ops.aten.empty_strided
        return func(*args, **(kwargs or {}))


def runs(operation: Callable[[], object]) -> int:
    """How often torch itself runs when the operation runs twice, after it has run once."""
    with Counting() as counting, MetaResults():
        operation()
        before = counting.count
        operation()
        operation()
    return counting.count - before


X = torch.empty(2, 3, 4, device="meta")

REUSED: list[Callable[[], Any]] = [
    lambda: X @ X.mT,
    lambda: gelu(X),
    lambda: layer_norm(X, (4,)),
    lambda: torch.native_layer_norm(X, (4,), None, None, 1e-5),
    lambda: X + 1,
    lambda: X.max(dim=1),
]


@pytest.mark.parametrize("operation", REUSED)
def test_meta_results_of_an_operation_equal_those_of_torch(
    operation: Callable[[], Any],
) -> None:
    expected = operation()
    with MetaResults():
        first, second = operation(), operation()
    for found in (first, second):
        for one, other in zip(_tensors(found), _tensors(expected), strict=True):
            assert (one.shape, one.stride(), one.dtype) == (
                other.shape,
                other.stride(),
                other.dtype,
            )
    for one, other in zip(_tensors(first), _tensors(second), strict=True):
        assert one.untyped_storage()._cdata != other.untyped_storage()._cdata


def _tensors(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def test_meta_results_of_a_repeated_operation_are_reused() -> None:
    assert runs(lambda: gelu(X)) == 0


def test_meta_results_of_other_layouts_and_values_differ() -> None:
    with MetaResults():
        assert gelu(X).shape != gelu(X[:1]).shape
        assert gelu(X.mT).stride() != gelu(X.reshape(2, 4, 3)).stride()
        assert X.sum(0).shape != X.sum(1).shape
        assert (X + 1).dtype != (X.double() + 1).dtype
        whole = torch.ones(2, dtype=torch.int64, device="meta")
        in_default = (whole / 2).dtype
        torch.set_default_dtype(torch.float64)
        try:
            assert (whole / 2).dtype != in_default
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "operation",
    [
        lambda: X.view(6, 4),
        lambda: torch.empty_like(X).add_(1),
        lambda: torch.rand_like(X),
        lambda: gelu(torch.ones(2)),
    ],
)
def test_meta_results_of_views_writes_draws_and_other_devices_come_from_torch(
    operation: Callable[[], Any],
) -> None:
    assert runs(operation) >= 2


def test_meta_results_keep_gradients() -> None:
    trained = torch.empty(4, device="meta", requires_grad=True)
    with MetaResults():
        assert not gelu(X[0, 0]).requires_grad
        assert gelu(trained).requires_grad
        assert not gelu(X[0, 0]).requires_grad
