"""The operations on tensors while a block of code runs: what they read, write and draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class WritesWeightsError(Exception):
    """An operation was about to write to a parameter; nothing was written."""


def storages(values: object) -> set[int]:
    """The memory in which tensors lie, wherever they stand in ``values``, views with their base."""
    found = set()
    for value in tree_leaves(list(values) if isinstance(values, Iterator) else values):
        if isinstance(value, Tensor) and value.layout == torch.strided:
            found.add(value.untyped_storage()._cdata)
    return found


def weights_of(classifier: nn.Module) -> dict[int, str]:
    """The memory of each parameter, and its name."""
    return {key: name for name, p in classifier.named_parameters() for key in storages(p)}


def tensors_of(classifier: nn.Module) -> dict[int, str]:
    """The memory of each parameter and buffer, and its name."""
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
    """Whether it is a number, a flag, a name, or several of them, such as a shape."""
    if isinstance(value, (list, tuple)):
        return all(type(each) in _PLAIN for each in value)
    return type(value) in _PLAIN


class Made:
    """The memory of tensors that operations returned, as opposed to what existed before."""

    def __init__(self) -> None:
        # Weak references keep an address from being given again, and no memory from being freed.
        self._memory: dict[int, StorageWeakRef] = {}

    def __contains__(self, memory: int) -> bool:
        return memory in self._memory

    def add(self, tensor: Tensor) -> None:
        """Note the memory of a tensor."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            self._memory.setdefault(storage._cdata, StorageWeakRef(storage))  # type: ignore[no-untyped-call]


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices operations: ``draws`` of random numbers from torch, ``idle_draws`` without effect,
    and ``products`` of matrices; ``steps`` are all others, with the numbers and flags they were
    given. ``reads`` is the memory of all tensors that went into any; ``writes`` that of tensors
    which were changed and existed before, that is, are not among those ``made``.

    Raises:
        WritesWeightsError: before one of the ``weights`` (by memory, with names) is written to.
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
        entering = storages((args, kwargs))
        self.reads |= entering
        if func.overloadpacket == torch.ops.aten.lift_fresh:  # torch.tensor() has just made it
            self._made.add(args[0])
        self._note_writes(func, args, kwargs)
        self.products |= func.overloadpacket in flop_registry
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._note_draw(func, args, kwargs)
        else:
            flags = [value for value in (*args, *kwargs.values()) if _is_plain(value)]
            self.steps.append((func, flags))
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not storages(tensor) <= entering:
                self._made.add(tensor)  # a view or what was changed in place has the input's memory
        return result

    def computations(self) -> list[Any]:
        """The operations that compute, in order, without those that give tensors another shape."""
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
        if "dropout_p" in names:  # fused attention draws only where it drops
            self.draws |= bool(given.get("dropout_p"))
        elif isinstance(p, (int, float)) and (p == 0 or (p == 1 and "bernoulli" in func.name())):
            self.idle_draws = True
        else:
            self.draws = True
