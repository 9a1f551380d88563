"""What a classifier holds: whatever is reached from its modules and their hooks, as it is now."""

from __future__ import annotations

import array
import contextlib
import functools
import logging
import random
import sys
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Set
from contextvars import ContextVar
from mmap import mmap
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, torch.device, torch.dtype)
"""What is held by value."""

_CONTAINERS = (list, tuple, set, frozenset, deque)
_HASHED_BYTES = 2**20
"""An array tells no version, and a tensor's is not told of what is written past torch; those that
are larger are taken to stay as they are, but for a tensor's version."""


_HEAP_TYPE = 1 << 9
"""The flag of types that come into being while running (``Py_TPFLAGS_HEAPTYPE``)."""


class _Held(NamedTuple):
    """A tensor as it was found."""

    tensor: Tensor
    version: int
    memory: int
    content: int | None


class State:
    """Everything that attributes, containers, closures, defaults and plain objects hold.

    Numbers and strings are held by value, tensors by identity and version (small ones by content as
    well), generators by what they draw next (Python's and NumPy's global ones, too), what cannot be
    looked into by what it would be copied from, or else by identity.
    """

    def __init__(self, root: object) -> None:
        self._tokens: list[object] = [random.getstate(), _numpy_state(np.random.get_state())]
        self._places: dict[int, int] = {}
        self.objects: list[object] = []
        """All that was reached, but plain values."""
        self._walk(root)

    def memory(self) -> set[int]:
        """Where its tensors lie."""
        return {token.memory for token in self._tokens if isinstance(token, _Held)}

    def is_as(self, before: State, read: Set[int]) -> bool:
        """Whether nothing has changed since ``before``.

        A tensor that has taken the place of one whose memory is not among what was ``read`` is no
        change: it is made anew before every use.
        """
        if len(self._tokens) != len(before._tokens):
            return False
        return all(
            now is then or _same(now, then, read)
            for now, then in zip(self._tokens, before._tokens, strict=True)
        )

    def _walk(self, root: object) -> None:
        waiting = [root]
        tokens, places = self._tokens, self._places
        while waiting:
            value = waiting.pop()
            if type(value) in PLAIN:
                tokens.append(value)
            elif id(value) in places:
                tokens.append(places[id(value)])
            else:
                places[id(value)] = len(self.objects)
                self.objects.append(value)
                waiting.extend(self._enter(value))

    def _enter(self, value: Any) -> Iterable[object]:
        """Note what an object is; what is to be walked next."""
        if isinstance(value, Tensor):
            self._tokens.append(_held(value))
            return [value.__dict__, value._backward_hooks]
        if isinstance(value, FunctionType):
            self._tokens.append(value.__code__)
            return [*closure_of(value), value.__defaults__, value.__kwdefaults__, value.__dict__]
        if isinstance(value, type):
            self._tokens.append(value)
            return parts_of_class(value)
        generator = _generator_state(value)
        if generator is not None or isinstance(value, (ModuleType, logging.Logger)):
            self._tokens.append(value if generator is None else generator)
            return ()
        if isinstance(value, (np.ndarray, np.generic, bytearray, array.array, memoryview, mmap)):
            checksum = _checksum(value)
            self._tokens.append(value if checksum is None else checksum)
            return ()
        if isinstance(value, ContextVar):
            return [value.get(None)]
        self._tokens.append(type(value))
        inside: list[object] = []
        if isinstance(value, OrderedDict):  # torch's hooks, by numbers that are given but once
            self._tokens += value
            inside += value.values()
        elif isinstance(value, dict):
            self._tokens.append(len(value))
            inside += (*value, *value.values())
        elif isinstance(value, (set, frozenset)):  # in no order that another process would have
            self._tokens.append(len(value))
            inside += sorted(value, key=repr)
        elif isinstance(value, _CONTAINERS):
            self._tokens.append(len(value))
            inside += value
        elif isinstance(value, functools.partial):
            inside += (value.func, value.args, value.keywords)
        elif isinstance(value, MethodType):
            inside += (value.__func__, value.__self__)
        attributes = attributes_of(value)
        if not inside and attributes is None and not isinstance(value, (dict, *_CONTAINERS)):
            reduced = _reduced(value)
            self._tokens.append(value if reduced is None else None)
            inside += () if reduced is None else (reduced,)
        if type(value).__module__ != "builtins":
            inside.append(type(value))
        return inside if not attributes else [*inside, *attributes, *attributes.values()]


def parts_of_class(kind: type) -> list[object]:
    """The members of a class that was made while running, such as inside a function, and of such
    bases; ``__init__`` aside, which has done its work.

    A class that is imported is the same in every run of the same version: nothing of it.
    """
    found: list[object] = []
    for base in kind.__mro__:
        if not _is_imported(base):
            for name, member in vars(base).items():
                parts = _parts_of_member(member)
                if name.startswith("__"):  # of other kinds Python itself makes
                    parts = [part for part in parts if isinstance(part, FunctionType)]
                if parts and name not in ("__init__", "_abc_impl"):
                    found += (name, *parts)
    return found


def _parts_of_member(member: object) -> list[object]:
    if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)):
        return []  # where an attribute is found
    if isinstance(member, (staticmethod, classmethod)):
        return [member.__func__]
    if isinstance(member, property):
        return [part for part in (member.fget, member.fset, member.fdel) if part is not None]
    if isinstance(member, functools.cached_property):
        return [member.func]
    if isinstance(member, functools.partialmethod):
        return [member.func, member.args, member.keywords]
    return [member]


def _is_imported(kind: type) -> bool:
    """Whether it is found under its name, or was made by no code of a plugin's."""
    if kind.__module__.partition(".")[0] == "torch" or not kind.__flags__ & _HEAP_TYPE:
        return True  # parametrised modules are of classes that torch makes, by names alone
    found: object = None
    with contextlib.suppress(Exception):  # a module may load what it is asked for
        found = sys.modules[kind.__module__]
        for name in kind.__qualname__.split("."):
            found = getattr(found, name)
    return found is kind


def generators_in(state: State) -> list[object]:
    """The generators of random numbers that were reached."""
    return [value for value in state.objects if _generator_state(value) is not None]


def closure_of(function: FunctionType) -> list[object]:
    """What it takes from the function around it."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # nothing is in it yet
            continue
    return found


def attributes_of(value: object) -> dict[str, object] | None:
    """The attributes of an object, in slots as well; ``None`` if it can have none."""
    found: dict[str, object] | None = getattr(value, "__dict__", None)
    slots = slots_of(value)
    return found if slots is None else {**(found or {}), **slots}


def slots_of(value: object) -> dict[str, object] | None:
    """What is in the slots of an object, by the names under which its class has them; ``None`` if
    it has none."""
    found: dict[str, object] | None = None
    for base in type(value).__mro__:
        if "__slots__" in vars(base):
            for name, member in vars(base).items():
                if isinstance(member, MemberDescriptorType) and name not in (found or {}):
                    found = found or {}
                    try:
                        found[name] = member.__get__(value)
                    except AttributeError:  # nothing is in it yet
                        continue
    return found


def _held(tensor: Tensor) -> _Held:
    version = 0 if tensor.is_inference() else tensor._version
    strided = tensor.layout == torch.strided
    memory = tensor.untyped_storage()._cdata if strided else id(tensor)
    content = None
    if strided and not tensor.is_meta and tensor.nbytes <= _HASHED_BYTES:
        content = zlib.crc32(tensor_bytes(tensor))
    return _Held(tensor, version, memory, content)


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The numbers of a tensor that is not on the meta device, one after the other."""
    values = tensor.detach().cpu()
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        values = values.dequantize()
    flat = values.resolve_conj().resolve_neg().contiguous().flatten()
    if flat.stride(0) != 1:  # a single number may have any
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data


def _checksum(value: Any) -> int | None:
    """That of an array's content, ``None`` if it is too large, one of objects, or released."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.hasobject:
        return None
    try:
        content = memoryview(value)
        return zlib.crc32(content.tobytes()) if content.nbytes <= _HASHED_BYTES else None
    except ValueError:
        return None


def _reduced(value: object) -> object:
    """What a copy would be made from, such as where an iterator is; ``None`` if there is none."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # whatever its author chose: it is not to be copied
        return None
    return reduced[1:] if isinstance(reduced, tuple) else reduced


def _same(now: object, then: object, read: Set[int]) -> bool:
    if isinstance(now, _Held) and isinstance(then, _Held):
        if now.tensor is then.tensor:
            return now[1:] == then[1:]
        return then.memory not in read
    if type(now) is not type(then) or type(now) not in (*PLAIN, tuple):
        return False
    return now == then or (now != now and then != then)


def _generator_state(value: object) -> object:
    """What a generator draws next; ``None`` of anything else."""
    if isinstance(value, random.SystemRandom):
        return object()  # nobody knows: it is never the same
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.RandomState):
        return _numpy_state(value.get_state())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    return None


def _numpy_state(state: Any) -> tuple[Any, ...]:
    name, keys, *rest = state
    return name, np.asarray(keys).tobytes(), tuple(rest)
