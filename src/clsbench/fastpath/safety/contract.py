"""The allow-list for caching activations across runs (see docs/fast-path-contract.md).

The key of cached activations must identify the computation. Weights are hashed, code is identified
by the component's distribution or source. Everything else that modules hold must be on the list
below; if it is not, nothing is cached.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import torch
from torch import Tensor, nn

CacheFacts = Callable[[object], object]
"""Returns plain values that identify an object, or ``None`` if no component knows it."""

_BOOKKEEPING = {
    *("training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"),
    *("_is_full_backward_hook", "_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
}
"""Attributes of every module that do not affect its forward pass, or are handled by name."""

HOOKS = {
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    *("_backward_hooks", "_backward_pre_hooks"),
}

_VALUES = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device)
_CALLABLES = (type, type(lambda: None), type(len))
_DEEPEST = 50


class OutsideContractError(Exception):
    """A module holds an object that is not on the list; the message names both."""


def no_cache_facts(value: object) -> None:
    """Identify no object."""


def outside_contract(classifier: nn.Module, facts_of: CacheFacts) -> str | None:
    """Why activations of the classifier cannot be cached across runs; ``None`` if they can."""
    try:
        for part in ("backbone", "pooling"):
            module_facts(classifier, part, facts_of)
    except OutsideContractError as error:
        return str(error)
    return None


def module_facts(classifier: nn.Module, part: str, facts_of: CacheFacts) -> list[object]:
    """JSON values that identify the modules of a part of the classifier, without weights.

    Raises:
        OutsideContractError: a module holds an object that is not on the list.
    """
    paths = {id(module): path for path, module in classifier.named_modules()}
    values = _Values(paths, facts_of)
    found: list[object] = []
    for path, module in classifier.get_submodule(part).named_modules(prefix=part):
        held = vars(module)
        if any(held.get(name) for name in HOOKS):
            raise OutsideContractError(f"{path} has hooks")
        kind = _importable_name(type(module))
        if kind is None:
            _refuse(f"the class of {path}, {type(module).__name__},", "cannot be imported by name")
        children = {name: paths.get(id(child)) for name, child in module._modules.items()}
        facts = {
            name: values.of(value, f"{path}.{name}")
            for name, value in held.items()
            if name not in _BOOKKEEPING and name not in HOOKS
        }
        tensors = {**module._parameters, **module._buffers}
        notes = {
            name: _tensor_facts(tensor, f"{path}.{name}", values)
            for name, tensor in tensors.items()
            if tensor is not None
        }
        found.append([path, kind, children, facts, notes])
    return found


def _tensor_facts(tensor: Tensor, path: str, values: _Values) -> object:
    """Attributes of a parameter or buffer; its values are hashed elsewhere."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized:
        _refuse(path, f"is a {type(tensor).__name__} that is not dense or has a special type")
    return values.of(vars(tensor), path)


class _Values:
    """Converts values to JSON values, each with its type."""

    def __init__(self, paths: dict[int, str], facts_of: CacheFacts) -> None:
        self._paths = paths
        self._facts_of = facts_of

    def of(self, value: Any, where: str, depth: int = 0) -> object:
        """The JSON form of a value.

        Raises:
            OutsideContractError: the value is not on the list.
        """
        if depth > _DEEPEST:
            _refuse(where, f"is nested more than {_DEEPEST} levels deep")
        kind = type(value)
        if kind in _VALUES:
            return [kind.__name__, hex(value) if kind is int else repr(value)]
        if kind in (list, tuple, torch.Size):
            return [kind.__name__, *(self.of(each, where, depth + 1) for each in value)]
        if kind in (set, frozenset):  # their order differs between processes
            return [kind.__name__, *sorted(map(str, (self.of(v, where, depth + 1) for v in value)))]
        if kind is dict:
            pairs = [part for pair in value.items() for part in pair]
            return ["dict", *(self.of(part, where, depth + 1) for part in pairs)]
        if isinstance(value, nn.Module) and id(value) in self._paths:
            return ["module", self._paths[id(value)]]
        if isinstance(value, _CALLABLES) and (name := _importable_name(value)):
            return ["name", name]
        name = _importable_name(kind)
        if isinstance(value, enum.Enum) and name:
            return ["enum", name, value.name]
        if isinstance(value, msgspec.Struct) and name:
            fields = (getattr(value, field) for field in value.__struct_fields__)
            return ["struct", name, *(self.of(each, where, depth + 1) for each in fields)]
        facts = self._facts_of(value)
        if facts is None:
            _refuse(where, f"is a {kind.__qualname__} object, which cannot be identified")
        found = _Values(self._paths, no_cache_facts).of(facts, f"cache_facts() of {where}")
        return ["facts", f"{kind.__module__}.{kind.__qualname__}", found]


def _refuse(where: str, what: str) -> NoReturn:
    raise OutsideContractError(f"{where} {what}")


def _importable_name(value: Any) -> str | None:
    """The name under which a class or function can be imported; ``None`` if it cannot."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return f"{module}.{name}" if found is value else None
