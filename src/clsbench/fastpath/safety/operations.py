"""Record tensor operations: the memory that they read and write, and random draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from clsbench.system.dispatch_mode import DispatchMode


class WritesWeightsError(Exception):
    """An operation would have written to a parameter; it was stopped before."""


def storages(values: object) -> set[int]:
    """The storages of all tensors in nested ``values``; a view has the storage of its base."""
    found: set[int] = set()
    _add_storages(tuple(values) if isinstance(values, Iterator) else values, found)
    return found


def _add_storages(value: object, found: set[int]) -> None:
    if isinstance(value, Tensor):
        if value.layout == torch.strided:
            found.add(value.untyped_storage()._cdata)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _add_storages(each, found)
    elif value is not None and type(value) not in _PLAIN:  # tree_leaves() is slow
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                _add_storages(leaf, found)


def weights_of(classifier: nn.Module) -> dict[int, str]:
    """The storage of each parameter, with its name."""
    return {key: name for name, p in classifier.named_parameters() for key in storages(p)}


def tensors_of(classifier: nn.Module) -> dict[int, str]:
    """The storage of each parameter and buffer, with its name."""
    buffers = {key: name for name, b in classifier.named_buffers() for key in storages(b)}
    return {**buffers, **weights_of(classifier)}


_PLAIN = (bool, int, float, str)

_SHAPING = {
    getattr(torch.ops.aten, name)
    for name in (
        "_unsafe_view", "alias", "as_strided", "clone", "detach", "expand", "permute", "reshape",
        "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unsqueeze",
        "unbind", "unsafe_split", "view", "_reshape_alias", "copy_", "contiguous",
    )
}  # fmt: skip


def _is_plain(value: object) -> bool:
    """Whether a value is a number, flag or string, or a sequence of them, such as a shape."""
    if isinstance(value, (list, tuple)):
        return all(type(each) in _PLAIN for each in value)
    return type(value) in _PLAIN


class Made:
    """The storages of tensors that operations have created."""

    def __init__(self) -> None:
        # Weak references prevent the reuse of addresses, but do not keep memory alive.
        self._memory: dict[int, StorageWeakRef] = {}

    def __contains__(self, memory: int) -> bool:
        return memory in self._memory

    def add(self, tensor: Tensor) -> None:
        """Add the storage of a tensor."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            self._memory.setdefault(storage._cdata, StorageWeakRef(storage))  # type: ignore[no-untyped-call]


class Operations(DispatchMode):
    """Records operations while it is active.

    ``draws``: torch drew random numbers; ``idle_draws``: it drew some without effect; ``products``:
    matrices were multiplied. ``steps`` are all operations that do not draw, with their numbers and
    flags. ``reads`` are the storages of all inputs; ``writes`` those of changed tensors that are
    not in ``made``, so existed before.

    Raises:
        WritesWeightsError: before one of the ``weights`` (names by storage) is written to.
    """

    def __init__(self, weights: Mapping[int, str], made: Made | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self._made = Made() if made is None else made
        self._written: dict[Any, list[tuple[int, str]]] = {}
        self.draws = self.idle_draws = self.products = False
        self.steps: list[tuple[Any, list[object]]] = []
        self.reads: set[int] = set()
        self.writes: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        entering = storages((args, *kwargs.values()))
        self.reads |= entering
        if func.overloadpacket == torch.ops.aten.lift_fresh:  # a new tensor of torch.tensor()
            self._made.add(args[0])
        self._note_writes(func, args, kwargs)
        self.products |= func.overloadpacket in flop_registry
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._note_draw(func, args, kwargs)
        else:
            flags = [value for value in (*args, *kwargs.values()) if _is_plain(value)]
            self.steps.append((func, flags))
        result = func(*args, **kwargs)
        for tensor in result if isinstance(result, (list, tuple)) else (result,):
            if isinstance(tensor, Tensor) and not storages(tensor) <= entering:
                self._made.add(tensor)  # views and in-place results keep the input's storage
        return result

    def computations(self) -> list[Any]:
        """The operations in order, without those that only reshape or copy tensors."""
        return [func for func, _ in self.steps if func.overloadpacket not in _SHAPING]

    def _note_writes(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if func not in self._written:
            self._written[func] = [
                (place, argument.name)
                for place, argument in enumerate(func._schema.arguments)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
        for place, name in self._written[func]:
            written = storages(args[place] if place < len(args) else kwargs.get(name))
            for memory in written & self._weights.keys():
                raise WritesWeightsError(self._weights[memory])
            self.writes |= {memory for memory in written if memory not in self._made}

    def _note_draw(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        names = [argument.name for argument in func._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        p = given.get("p")
        if "dropout_p" in names:  # fused attention draws only with dropout
            self.draws |= bool(given.get("dropout_p"))
        elif isinstance(p, (int, float)) and (p == 0 or (p == 1 and "bernoulli" in func.name())):
            self.idle_draws = True
        else:
            self.draws = True
