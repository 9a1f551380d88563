"""What an object holds, as a digest: the same in every process that holds the same."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import logging
import random
import threading
import weakref
from collections import deque
from collections.abc import Collection, ItemsView, Iterable, KeysView, ValuesView
from contextvars import ContextVar
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GenericAlias,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clsbench.fastpath.state import (
    PLAIN,
    attributes_of,
    closure_of,
    parts_of_class,
    tensor_bytes,
)

_MOST_OBJECTS = 1_000_000
_WITHOUT_CONTENT = (
    RemovableHandle,  # a number that is given but once in a process
    type(threading.Lock()),
    type(threading.RLock()),
    random.Random,  # who draws while computing is not kept
    np.random.RandomState,
    np.random.Generator,
    torch.Generator,
)


_OF_CODE = (
    *("co_name", "co_code", "co_names", "co_consts", "co_varnames", "co_freevars", "co_cellvars"),
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_exceptiontable"),
)
"""All but where it stands in its file."""


class UnknowableError(Exception):
    """Something cannot be looked into; the text says what."""


def content_digest(root: object, apart: Collection[int] = ()) -> str:
    """A digest of all that attributes, containers, closures, code and buffers hold, and of classes
    that were made while running.

    ``apart`` are ids of tensors that are told elsewhere. Identities, numbers that are given but
    once in a process, and the order of sets are not in it; nor are globals and the attributes of
    classes that are imported.

    Raises:
        UnknowableError: what an object holds cannot be told.
    """
    teller = _Teller(apart)
    try:
        teller.tell(root)
    except RecursionError:
        raise UnknowableError(
            "an object that holds others in too long a row, or a set that they lead back to"
        ) from None
    except UnknowableError:
        raise
    except Exception as error:  # whatever an object's author chose: a run must not end by it
        raise UnknowableError(f"an object that fails to tell ({error})") from error
    return teller.digest()


class _Teller:
    def __init__(self, apart: Collection[int]) -> None:
        self._apart = apart
        self._hash = hashlib.sha256()
        self._places: dict[int, int] = {}
        self._alive: list[object] = []
        self._kinds: dict[type, list[object]] = {}

    def digest(self) -> str:
        return self._hash.hexdigest()

    def tell(self, value: Any) -> None:
        self._put(f"{type(value).__module__}.{type(value).__qualname__}")
        if type(value) in PLAIN:
            self._put(hex(value) if isinstance(value, int) else repr(value))  # of any length
            return
        if id(value) in self._places:
            self._put(f"number {self._places[id(value)]}")
            return
        if len(self._alive) >= _MOST_OBJECTS:
            raise UnknowableError(f"more than {_MOST_OBJECTS:,} objects")
        self._places[id(value)] = len(self._places)
        self._alive.append(value)  # lest its id be given again
        parts = [*self._parts(value), *self._parts_of(type(value))]
        self._put(str(len(parts)))
        for part in parts:
            self.tell(part)

    def _put(self, text: str) -> None:
        self._hash.update(f"{len(text)} {text}".encode(errors="surrogatepass"))

    def _parts_of(self, kind: type) -> list[object]:
        if kind not in self._kinds:
            self._kinds[kind] = parts_of_class(kind)
        return self._kinds[kind]

    def _parts(self, value: Any) -> Iterable[object]:
        if id(value) in self._apart:
            return (vars(value),)
        if isinstance(value, _WITHOUT_CONTENT):
            return ()
        if isinstance(value, Tensor):
            return _of_tensor(value)
        if isinstance(value, nn.Module):
            return _of_module(value)
        if isinstance(value, np.generic) or type(value) in (np.ndarray, np.memmap):
            content = value.tolist() if value.dtype.hasobject else _sha(value.tobytes())
            return str(value.dtype), value.shape, content
        if isinstance(value, (dict, MappingProxyType)):
            pairs = [part for pair in value.items() for part in pair]
            return *pairs, getattr(value, "default_factory", None), attributes_of(value)
        if isinstance(value, (set, frozenset)):  # in no order that another process would have
            return *sorted(content_digest(each, self._apart) for each in value), attributes_of(
                value
            )
        if isinstance(value, (list, tuple, deque)):
            return *value, getattr(value, "maxlen", None), attributes_of(value)
        if isinstance(value, (KeysView, ValuesView, ItemsView)):
            return tuple(value)
        return self._parts_of_code(value)

    def _parts_of_code(self, value: Any) -> Iterable[object]:
        if isinstance(value, FunctionType):
            defaults = value.__defaults__, value.__kwdefaults__
            return value.__code__, closure_of(value), *defaults, value.__dict__
        if isinstance(value, CodeType):
            return [getattr(value, name) for name in _OF_CODE]
        if isinstance(value, MethodType):
            return value.__func__, value.__self__
        if isinstance(value, BuiltinFunctionType):
            owner = value.__self__
            return value.__qualname__, owner
        if isinstance(value, GenericAlias):
            return value.__origin__, value.__args__
        if isinstance(value, type):
            return value.__module__, value.__qualname__, *self._parts_of(value)
        if isinstance(value, (ModuleType, logging.Logger)):
            return (getattr(value, "__name__", None) or getattr(value, "name", None),)
        if isinstance(value, functools.partial):
            return value.func, value.args, value.keywords, value.__dict__
        if isinstance(value, ContextVar):
            return (value.get(None),)
        if isinstance(value, weakref.ref):
            return (value(),)
        if isinstance(value, PurePath):  # which keeps its hash, another one in every process
            return (str(value),)
        return _of_object(value)


def _of_tensor(tensor: Tensor) -> Iterable[object]:
    try:
        kind = str(tensor.dtype), tuple(tensor.shape)
        if tensor.is_meta:
            return kind
        if tensor.is_quantized:  # its scale is not in its numbers
            raise TypeError("quantised")
        return *kind, _sha(tensor_bytes(tensor)), vars(tensor)
    except Exception as error:  # whatever kind of tensor a library has made
        raise UnknowableError(f"a {type(tensor).__name__} ({error})") from None


def _of_module(module: nn.Module) -> Iterable[object]:
    """Hooks without the numbers under which they stand."""
    parts: list[object] = []
    for name, value in (attributes_of(module) or {}).items():
        hooks = name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
        parts += [name, list(value.values()) if hooks and isinstance(value, dict) else value]
    return parts


def _of_object(value: Any) -> Iterable[object]:
    if isinstance(value, np.ndarray):
        raise UnknowableError(f"a {type(value).__module__}.{type(value).__qualname__}")
    try:
        view = memoryview(value)
        return view.format, view.shape, _sha(view.tobytes()), attributes_of(value)
    except (TypeError, ValueError, BufferError):  # it is none, or no longer
        pass
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if not isinstance(reduced, str):
            reduced = [list(part) if n in (3, 4) and part is not None else part
                       for n, part in enumerate(reduced)]  # fmt: skip
    except Exception:  # whatever its author chose: it is not to be copied
        kind = type(value)
        raise UnknowableError(f"a {kind.__module__}.{kind.__qualname__}") from None
    return reduced, attributes_of(value)


def _sha(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
