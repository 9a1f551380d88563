"""What a classifier holds: whatever is reached from its modules and their hooks, as it is now."""

from __future__ import annotations

import functools
import logging
import random
import zlib
from collections import deque
from collections.abc import Iterable, Set
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_HASHED_BYTES = 2**20
"""An array tells no version; one that is larger is taken to stay as it is."""


class _Held(NamedTuple):
    """A tensor as it was found."""

    tensor: Tensor
    version: int
    memory: int


class State:
    """Everything that attributes, containers, closures, defaults and plain objects hold.

    Numbers and strings are held by value, tensors by identity and version, generators by what they
    draw next (Python's and NumPy's global ones, too), anything unknown by identity.
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
            if type(value) in _PLAIN:
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
            return [*_contents(value), value.__defaults__, value.__kwdefaults__, value.__dict__]
        if isinstance(value, type):
            self._tokens.append(value)
            return closures_of(value)
        generator = _generator_state(value)
        if generator is not None or isinstance(value, (ModuleType, logging.Logger)):
            self._tokens.append(value if generator is None else generator)
            return ()
        if isinstance(value, np.ndarray):
            hashed = value.nbytes <= _HASHED_BYTES and not value.dtype.hasobject
            self._tokens.append(zlib.crc32(value.tobytes()) if hashed else value)
            return ()
        self._tokens.append(type(value))
        inside: list[object] = []
        if isinstance(value, dict):
            self._tokens.append(len(value))
            inside += (*value, *value.values())
        elif isinstance(value, _CONTAINERS):
            self._tokens.append(len(value))
            inside += value
        elif isinstance(value, functools.partial):
            inside += (value.func, value.args, value.keywords)
        elif isinstance(value, MethodType):
            inside += (value.__func__, value.__self__)
        attributes = _attributes(value)
        if "<locals>" in type(value).__qualname__:
            inside.append(type(value))
        if not inside and attributes is None and not isinstance(value, (dict, *_CONTAINERS)):
            self._tokens.append(value)
        return inside if not attributes else [*inside, *attributes, *attributes.values()]


def closures_of(kind: type) -> list[object]:
    """What the methods of a class that was made inside a function take from there."""
    found = []
    for base in kind.__mro__:
        if "<locals>" in base.__qualname__:
            for name, method in vars(base).items():
                function = getattr(method, "__func__", method)
                if isinstance(function, FunctionType) and name != "__init__":
                    found += [each for each in _contents(function) if not isinstance(each, type)]
    return found


def generators_in(state: State) -> list[object]:
    """The generators of random numbers that were reached."""
    return [value for value in state.objects if _generator_state(value) is not None]


def _contents(function: FunctionType) -> list[object]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # nothing is in it yet
            continue
    return found


def _attributes(value: object) -> dict[str, object] | None:
    """The attributes of an object, ``None`` if it can have none."""
    found: dict[str, object] | None = getattr(value, "__dict__", None)
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                found = dict(found or {})
                if hasattr(value, name):
                    found[name] = getattr(value, name)
    return found


def _held(tensor: Tensor) -> _Held:
    version = 0 if tensor.is_inference() else tensor._version
    strided = tensor.layout == torch.strided
    return _Held(tensor, version, tensor.untyped_storage()._cdata if strided else id(tensor))


def _same(now: object, then: object, read: Set[int]) -> bool:
    if isinstance(now, _Held) and isinstance(then, _Held):
        if now.tensor is then.tensor:
            return now[1:] == then[1:]
        return then.memory not in read
    return type(now) is type(then) and type(now) in (*_PLAIN, tuple) and now == then


def _generator_state(value: object) -> object:
    """What a generator draws next; ``None`` of anything else."""
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
