"""Detect changes of a classifier's state: attributes, buffers and random generators.

State in closures, global variables or objects of other libraries is not detected; a component with
such state must declare ``stateful = True``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clsbench.fastpath.safety.contract import HOOKS

_VALUES = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device, torch.Size)


class _Held(NamedTuple):
    """A tensor with its version and storage at the time of the snapshot."""

    tensor: Tensor
    version: int
    memory: int


class Snapshot:
    """The attributes and tensors of all modules, and the states of random generators.

    Tensors are compared by identity and version, plain values and containers by content, other
    objects by identity.
    """

    def __init__(self, classifier: nn.Module) -> None:
        self._tokens: list[object] = [repr(random.getstate()), repr(_numpy_state())]
        for module in classifier.modules():
            held = vars(module)
            names = sorted(held.keys() - HOOKS - {"training", "_modules"})
            self._tokens += names
            for name in names:
                self._tokens += _tokens(held[name])

    def memory(self) -> set[int]:
        """The storages of its tensors."""
        return {token.memory for token in self._tokens if isinstance(token, _Held)}

    def is_as(self, before: Snapshot, read: Set[int]) -> bool:
        """Whether the state equals that of ``before``.

        A replaced tensor whose old storage was not ``read`` does not count as a change: it is
        recomputed before every use.
        """
        return len(self._tokens) == len(before._tokens) and all(
            _same(now, then, read) for now, then in zip(self._tokens, before._tokens, strict=True)
        )


def _tokens(value: Any) -> Iterator[object]:
    if isinstance(value, Tensor):
        yield held_tensor(value)
    elif type(value) in _VALUES:
        yield f"{type(value).__name__} {value!r}"
    elif type(value) in (list, tuple):
        yield len(value)
        for each in value:
            yield from _tokens(each)
    elif type(value) in (set, frozenset):
        yield sorted(map(repr, value))
    elif type(value) is dict:
        yield list(map(repr, value))
        for each in value.values():
            yield from _tokens(each)
    else:
        yield value if (state := _generator_state(value)) is None else state


def held_tensor(tensor: Tensor) -> _Held:
    """A tensor with its current version and storage."""
    version = 0 if tensor.is_inference() else tensor._version
    strided = tensor.layout == torch.strided
    return _Held(tensor, version, tensor.untyped_storage()._cdata if strided else id(tensor))


def _same(now: object, then: object, read: Set[int]) -> bool:
    if isinstance(now, _Held) and isinstance(then, _Held):
        replaced = now.tensor is not then.tensor
        return then.memory not in read if replaced else now[1:] == then[1:]
    plain = isinstance(now, (str, int, list)) and type(now) is type(then)
    return now is then or (plain and now == then)


def _numpy_state() -> object:
    name, keys, *rest = np.random.get_state()
    return name, np.asarray(keys).tobytes(), rest


def _generator_state(value: object) -> str | None:
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return repr(value.getstate())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    return None
