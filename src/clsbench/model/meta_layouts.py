"""The results of common operations on the meta device, without torch's own kernels for them.

torch 2.13 has these kernels in Python, and for the first one imports ``torch._dynamo`` and SymPy.
That takes longer than the rest of a dry run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np  # torch.broadcast_shapes() imports SymPy
import torch
from torch import Tensor, nn

_FLOATS = (torch.float32, torch.float64)


class Layout(NamedTuple):
    """What a tensor on the meta device consists of."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype

    def empty(self) -> Tensor:
        """A new tensor."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


def layout_of(tensor: Tensor) -> Layout | None:
    """The layout of a plain tensor on the meta device; ``None`` for any other."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.device.type != "meta" or tensor.is_complex():
        return None
    return Layout(tensor.shape, tensor.stride(), tensor.dtype)


def known_layouts(
    operation: Any, args: Sequence[Any], options: Mapping[str, Any]
) -> list[Layout] | None:
    """The layouts of the results; ``None`` if torch has to find them, or to report an error."""
    rule = _RULES.get(operation)
    if rule is None:
        return None
    try:
        return rule(*args, **options)
    except TypeError:  # an argument that the rule does not have
        return None


def _contiguous(shape: Sequence[int], dtype: torch.dtype) -> Layout:
    strides = [math.prod([max(n, 1) for n in shape[place + 1 :]]) for place in range(len(shape))]
    return Layout(torch.Size(shape), tuple(strides), dtype)


def _are_contiguous(*tensors: Any) -> bool:
    return all(
        isinstance(each, Tensor) and layout_of(each) == _contiguous(each.shape, each.dtype)
        for each in tensors
    )


def _are_floats(*tensors: Any) -> bool:
    """Whether they are plain tensors of one floating-point type, on the meta device."""
    layouts = [layout_of(each) if isinstance(each, Tensor) else None for each in tensors]
    found = {None if each is None else each.dtype for each in layouts}
    return len(found) == 1 and found <= {*_FLOATS}


def _product(dims: int, *operands: Any, **options: Any) -> list[Layout] | None:
    if options or not _are_floats(*operands):
        return None
    *added, a, b = (each.shape for each in operands)
    if not len(a) == len(b) == dims or a[:-2] != b[:-2] or a[-1] != b[-2]:
        return None
    shape = (*a[:-1], b[-1])
    if any(each not in (shape, shape[-1:]) for each in added):
        return None
    return [_contiguous(shape, operands[0].dtype)]


def _elementwise(*inputs: Any, alpha: Any = 1) -> list[Layout] | None:
    tensors = [each for each in inputs if isinstance(each, Tensor)]
    numbers = [alpha, *(each for each in inputs if not isinstance(each, Tensor))]
    if any(type(each) not in (int, float) for each in numbers) or not _are_floats(*tensors):
        return None
    if _are_contiguous(*tensors):
        return _broadcast(*tensors, dtype=tensors[0].dtype)
    (first, *others) = {layout_of(each) for each in tensors}
    return [first] if first is not None and not others and _is_dense(first) else None


def _broadcast(*tensors: Tensor, dtype: torch.dtype) -> list[Layout] | None:
    try:
        return [_contiguous(np.broadcast_shapes(*(each.shape for each in tensors)), dtype)]
    except ValueError:
        return None


def _is_dense(layout: Layout) -> bool:
    """Whether the elements fill their memory, each once, with every dimension larger than 1."""
    size = 1
    for stride, n in sorted(zip(layout.strides, layout.shape, strict=True)):
        if n < 2 or stride != size:
            return False
        size *= n
    return True


def _activation(x: Any, **options: Any) -> list[Layout] | None:
    return _elementwise(x)


def _where(condition: Any, a: Any, b: Any) -> list[Layout] | None:
    if not _are_contiguous(condition, a, b) or condition.dtype != torch.bool:
        return None
    return _broadcast(condition, a, b, dtype=a.dtype) if _are_floats(a, b) else None


def _clamp(x: Any, least: Any = None) -> list[Layout] | None:
    known = layout_of(x) is not None and x.dtype in (*_FLOATS, torch.int64)
    # A result of one dimension is contiguous, also if the input is repeated.
    if not known or not (x.ndim == 1 or _are_contiguous(x)) or type(least) is not int:
        return None
    return [_contiguous(x.shape, x.dtype)]


def _compared(a: Any, b: Any) -> list[Layout] | None:
    if not _are_contiguous(a, b) or a.dtype != b.dtype:
        return None
    return _broadcast(a, b, dtype=torch.bool)


def _masked_fill(x: Any, mask: Any, value: Any) -> list[Layout] | None:
    usual = _are_floats(x) and _are_contiguous(x, mask) and mask.dtype == torch.bool
    if not usual or type(value) not in (int, float):
        return None
    found = _broadcast(x, mask, dtype=x.dtype)
    return found if found is not None and found[0].shape == x.shape else None


def _reduced(x: Any, dims: Any = (), keep: bool = False) -> list[Layout] | None:
    if not _are_floats(x) or not _are_contiguous(x) or keep or not dims or 0 in x.shape:
        return None
    if not all(-x.ndim <= dim < x.ndim for dim in dims):
        return None
    places = {dim % x.ndim for dim in dims}
    if len(places) < len(dims):
        return None
    return [_contiguous([n for dim, n in enumerate(x.shape) if dim not in places], x.dtype)]


def _softmax(x: Any, dim: int, wider: bool | None = None) -> list[Layout] | None:
    """``wider``: the result has a wider type, given as such or as a flag."""
    usual = not wider and _are_floats(x) and _are_contiguous(x)
    return [_contiguous(x.shape, x.dtype)] if usual and -x.ndim <= dim < x.ndim else None


def _tril(x: Any, diagonal: int = 0) -> list[Layout] | None:
    return [_contiguous(x.shape, x.dtype)] if _are_contiguous(x) and x.ndim > 1 else None


def _embedding(table: Any, ids: Any, *options: Any) -> list[Layout] | None:
    usual = _are_floats(table) and table.ndim == 2 and layout_of(ids) is not None
    if not usual or ids.dtype not in (torch.int32, torch.int64):
        return None
    return [_contiguous((*ids.shape, table.shape[1]), table.dtype)]


def _layer_norm(
    x: Any, normalized: Sequence[int], scale: Any, shift: Any, eps: float
) -> list[Layout] | None:
    given = [each for each in (scale, shift) if each is not None]
    outer = x.shape[: x.ndim - len(normalized)]
    alike = (*outer, *normalized) == x.shape and all(
        each.shape == torch.Size(normalized) for each in given
    )
    if not normalized or not alike or not _are_floats(x, *given) or not _are_contiguous(x, *given):
        return None
    mean = _contiguous((*outer, *[1] * len(normalized)), x.dtype)
    return [_contiguous(x.shape, x.dtype), mean, mean]


def _nll_loss(
    x: Any, labels: Any, weight: Any, reduction: int, ignored: int
) -> list[Layout] | None:
    usual = weight is None and reduction == 1 and x.ndim == 2 and labels.shape == x.shape[:1]
    if not usual or not _are_floats(x) or not _are_contiguous(x, labels):
        return None
    return [_contiguous((), x.dtype)] * 2 if labels.dtype == torch.int64 else None


def _arange(*ends: Any, dtype: torch.dtype | None = None, **where: Any) -> list[Layout] | None:
    if not all(type(each) is int for each in ends) or ends != tuple(sorted(ends)):
        return None
    return _created((ends[-1] - (ends[0] if len(ends) > 1 else 0),), 0, dtype, **where)


def _created(
    shape: Sequence[int],
    value: Any,
    dtype: torch.dtype | None = None,
    *,
    device: torch.device | None = None,
    layout: Any = None,
    pin_memory: bool | None = None,
) -> list[Layout] | None:
    if device is None or device.type != "meta" or layout or pin_memory or min(shape, default=0) < 0:
        return None
    types = {bool: torch.bool, int: torch.int64, float: torch.get_default_dtype()}
    found = dtype or types.get(type(value))
    return None if found is None or found.is_complex else [_contiguous(shape, found)]


_aten = torch.ops.aten
_RULES: dict[Any, Callable[..., list[Layout] | None]] = {
    **dict.fromkeys((_aten.addmm.default, _aten.mm.default), partial(_product, 2)),
    _aten.bmm.default: partial(_product, 3),
    **dict.fromkeys(
        (
            *(_aten.add.Tensor, _aten.sub.Tensor, _aten.mul.Tensor, _aten.div.Tensor),
            _aten.mul.Scalar,
        ),
        _elementwise,
    ),
    **dict.fromkeys((_aten.gelu.default, _aten.tanh.default, _aten.relu.default), _activation),
    **dict.fromkeys(
        (_aten._softmax.default, _aten._safe_softmax.default, _aten._log_softmax.default), _softmax
    ),
    _aten.where.self: _where,
    _aten.clamp.default: _clamp,
    _aten.ge.Tensor: _compared,
    _aten.masked_fill.Scalar: _masked_fill,
    **dict.fromkeys((_aten.sum.dim_IntList, _aten.amax.default), _reduced),
    _aten.tril.default: _tril,
    _aten.embedding.default: _embedding,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.nll_loss_forward.default: _nll_loss,
    **dict.fromkeys((_aten.arange.default, _aten.arange.start), _arange),
    _aten.full.default: _created,
}
