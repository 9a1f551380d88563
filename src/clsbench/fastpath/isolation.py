"""A classifier's double, to be tried out: what is done to it leaves the classifier as it is.

Parameters have their values in common, since they take most of the memory and a trial trains none;
everything else is copied: modules, buffers, hooks, and what functions hold.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsbench.model.classifier import Classifier


def double_of(classifier: Classifier) -> Classifier:
    """A copy that shares the parameters' memory, with flags and gradients of its own.

    Raises:
        Exception: whatever its parts raise that cannot be copied.
    """
    memo: dict[int, Any] = {}
    for parameter in classifier.parameters():
        if type(parameter) is nn.Parameter:
            twin = nn.Parameter(parameter.detach(), parameter.requires_grad)
            twin.__dict__.update(parameter.__dict__)
            memo[id(parameter)] = twin
    for module in classifier.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # made anew before each forward
                memo[id(value)] = value.detach().clone()
            elif isinstance(value, torch.Generator):
                memo[id(value)] = value.clone_state()
    made = copy.deepcopy(classifier, memo)
    functions = _Functions(memo)
    for module in made.modules():
        for name, value in vars(module).items():
            if name not in _REGISTRIES:
                vars(module)[name] = functions.own(value)
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


_REGISTRIES = ("_parameters", "_buffers", "_modules")


class _Functions:
    """Functions are copied by reference, and what they close over or have as defaults with them:
    this gives them closures and defaults in which the classifier's parts are those of the copy."""

    def __init__(self, memo: dict[int, Any]) -> None:
        self._memo = memo
        self._made: dict[int, FunctionType] = {}
        self._originals: list[FunctionType] = []  # alive, so that no id is given again

    def own(self, value: Any) -> Any:
        """``value`` with functions of its own, in containers, too."""
        if isinstance(value, FunctionType):
            held = value.__closure__ or value.__defaults__ or value.__kwdefaults__
            return self._own_function(value) if held else value
        if isinstance(value, functools.partial):
            arguments = [self.own(each) for each in value.args]
            keywords = {name: self.own(each) for name, each in value.keywords.items()}
            return functools.partial(self.own(value.func), *arguments, **keywords)
        if isinstance(value, dict):
            for key, each in value.items():
                value[key] = self.own(each)
        elif isinstance(value, list):
            value[:] = [self.own(each) for each in value]
        elif type(value) is tuple:
            return tuple(self.own(each) for each in value)
        return value

    def _own_function(self, function: FunctionType) -> FunctionType:
        if id(function) in self._made:
            return self._made[id(function)]
        cells = tuple(CellType() for _ in function.__closure__ or ())
        made = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            closure=cells,
        )
        self._made[id(function)] = self._made[id(made)] = made
        self._originals.append(function)
        made.__defaults__ = self._copied(function.__defaults__)
        made.__kwdefaults__ = self._copied(function.__kwdefaults__)
        made.__dict__.update(function.__dict__)
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            try:
                content = original.cell_contents
            except ValueError:  # nothing is in it yet
                continue
            cell.cell_contents = self._copied(content)
        return made

    def _copied(self, value: Any) -> Any:
        return self.own(copy.deepcopy(value, self._memo))
