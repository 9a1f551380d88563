"""A classifier's double, to be tried out: what is done to it leaves the classifier as it is.

Parameters have their values in common, since they take most of the memory and a trial trains none;
everything else is copied: modules, buffers, hooks, and what functions and objects hold.
"""

from __future__ import annotations

import copy
import io
import random
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsbench.fastpath.state import State, generators_in, parts_of_class, slots_of
from clsbench.model.classifier import Classifier


class NoDoubleError(Exception):
    """Something belongs to the classifier that cannot be copied; the text says what."""


def double_of(classifier: Classifier) -> Classifier:
    """A copy that shares the parameters' memory, with flags and gradients of its own.

    Raises:
        Exception: whatever its parts raise that cannot be copied.
    """
    copier = _Copier()
    for parameter in classifier.parameters():
        if type(parameter) is nn.Parameter:
            copier.share(parameter)
    made: Classifier = copier.copy(classifier)
    copier.carry_hooks_over(classifier)
    _refuse_classes_with_parts(copier.originals)
    return made


@contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """The generators of torch, Python and NumPy go on afterwards as if the block had not been."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _refuse_classes_with_parts(objects: list[object]) -> None:
    """The methods of a class are its instances' in common, those of the copy among them."""
    for kind in {type(each) for each in objects}:
        if not (held := parts_of_class(kind)):
            continue
        state = State(held)
        shared = [
            each
            for each in state.objects
            if isinstance(each, nn.Parameter)
            or (isinstance(each, nn.Module) and any(each._parameters or each._buffers))
        ]
        if shared or generators_in(state):
            raise NoDoubleError(
                f"{kind.__qualname__}, a class made inside a function, or its methods, hold a "
                "module, a parameter or a generator; it belongs in an attribute of the instance"
            )


_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, ModuleType)


class _Copier:
    """Copies as :func:`copy.deepcopy` does, and functions with all that they close over or have as
    defaults, wherever they stand. What lies outside of Python, such as a lock or a file, is kept.
    """

    def __init__(self) -> None:
        self._memo: dict[int, Any] = {}
        self.originals: list[object] = []
        """All that was copied: alive, so that no id is given again."""

    def share(self, parameter: nn.Parameter) -> None:
        """Have a parameter become another one with the same memory."""
        twin = nn.Parameter(parameter.detach(), parameter.requires_grad)
        self._remember(parameter, twin)
        twin.__dict__.update(self.copy(parameter.__dict__))

    def carry_hooks_over(self, classifier: nn.Module) -> None:
        """Give the parameters' twins their hooks, whose functions may hold anything."""
        for parameter in classifier.parameters():
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                if hooks := getattr(parameter, name, None):
                    setattr(self.copy(parameter), name, self.copy(hooks))

    def copy(self, value: Any) -> Any:
        """The copy's own ``value``."""
        if isinstance(value, _ATOMS):
            return value
        if id(value) not in self._memo:
            self._remember(value, self._copied(value))
        return self._memo[id(value)]

    def _remember(self, value: Any, made: Any) -> Any:
        self._memo[id(value)] = made
        self.originals.append(value)
        return made

    def _copied(self, value: Any) -> Any:
        if type(value) is dict:
            pairs = self._remember(value, {})
            pairs.update((self.copy(key), self.copy(each)) for key, each in value.items())
            return pairs
        if type(value) is list:
            values = self._remember(value, [])
            values.extend(map(self.copy, value))
            return values
        if type(value) is tuple:
            parts = tuple(map(self.copy, value))
            return self._memo.get(id(value), parts)  # which may have held itself
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.copy(value.__self__))
        if isinstance(value, BuiltinFunctionType):
            owner = self.copy(getattr(value, "__self__", None))
            return value if owner is None else getattr(owner, value.__name__)
        if isinstance(value, weakref.ref):
            return value if value() is None else weakref.ref(self.copy(value()))
        if isinstance(value, torch.Generator):
            return value.clone_state()
        if isinstance(value, Tensor) and not value.is_leaf:  # made anew before each forward
            return value.detach().clone()
        if isinstance(value, nn.Module) and not _copies_itself(value):
            module = self._remember(value, type(value).__new__(type(value)))
            vars(module).update(self.copy(vars(value)))
            for name, each in (slots_of(value) or {}).items():
                object.__setattr__(module, name, self.copy(each))
            return module
        if hasattr(value, "__deepcopy__"):
            return copy.deepcopy(value, self._memo)
        return self._object(value)

    def _object(self, value: Any) -> Any:
        try:
            reduced = value.__reduce_ex__(4)
        except TypeError:
            if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
                raise
            if isinstance(value, threading.local):
                raise NoDoubleError("what is held by thread cannot be copied") from None
            return value
        if isinstance(reduced, str):
            return value
        self.originals.append(reduced)
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        made = self._remember(value, make(*self.copy(tuple(arguments))))
        if state is not None:
            _set_state(made, self.copy(state))
        for each in items or ():
            made.append(self.copy(each))
        for key, each in pairs or ():
            made[self.copy(key)] = self.copy(each)
        return made

    def _function(self, function: FunctionType) -> FunctionType:
        if not (function.__closure__ or function.__defaults__ or function.__kwdefaults__):
            return function
        cells = tuple(CellType() for _ in function.__closure__ or ())
        made: FunctionType = self._remember(
            function,
            FunctionType(function.__code__, function.__globals__, function.__name__, closure=cells),
        )
        made.__defaults__ = self.copy(function.__defaults__)
        made.__kwdefaults__ = self.copy(function.__kwdefaults__)
        made.__dict__.update(self.copy(function.__dict__))
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            try:
                content = original.cell_contents
            except ValueError:  # nothing is in it yet
                continue
            cell.cell_contents = self.copy(content)
        return made


def _copies_itself(module: nn.Module) -> bool:
    """Whether a module knows best; that of parametrised ones does no more than is done here."""
    own = getattr(type(module), "__deepcopy__", None)
    return own is not None and own.__module__ != "torch.nn.utils.parametrize"


def _set_state(made: Any, state: Any) -> None:
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        made.__dict__.update(attributes)
    for name, each in (slots or {}).items():
        setattr(made, name, each)
