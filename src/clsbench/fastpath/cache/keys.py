"""What fixes the activations of a frozen prefix, as a key under which later runs find them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.contents import content_digest
from clsbench.fastpath.isolation import double_of, same_draws
from clsbench.fastpath.operations import storages
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.safety.probe import any_texts, see_stages
from clsbench.fastpath.state import tensor_bytes
from clsbench.model.classifier import Classifier

_FORMAT = 6
"""To be raised when the built-in stages come to compute something else from the same weights."""


class PrefixKeys:
    """The keys of the activations of one classifier, by cut, for the weights that it has now.

    ``circumstances`` holds, as plain values, whatever else decides on them: the components and
    their versions, the padded length, precision, and the kind of device; ``positions`` is how many
    the widest text has. Each tensor is hashed when it is first needed, once.
    """

    def __init__(
        self,
        classifier: Classifier,
        plan: FastPlan,
        positions: int,
        circumstances: Mapping[str, Any],
    ) -> None:
        self._classifier = classifier
        self._plan = plan
        self._circumstances = circumstances
        self._positions = positions
        self._digests: dict[str, str] = {}
        self._keys: dict[int, PrefixKey] = {}

    def at(self, cut: int) -> PrefixKey:
        """The key of the activations before stage ``cut``.

        Raises:
            UnknowableError: what decides on them cannot be told.
        """
        if cut not in self._keys:
            self._keys[cut] = self._make(cut)
        return self._keys[cut]

    def _make(self, cut: int) -> PrefixKey:
        plan = self._plan
        single = plan.single is not None and cut > plan.single
        facts = {
            "format": _FORMAT,
            "stages": plan.stages[:cut],
            "single": single,
            "unpadded": plan.unpadded,
            "tensors": {name: self._digest(name, t) for name, t in self._tensors(cut)},
            "steps": self._computation.digests(cut),
            "content": self._content(cut),
            **self._circumstances,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        about = {
            "backbone": str(self._circumstances["backbone"]),
            "cut": f"after {plan.stages[cut - 1]}",
            "positions": "pooled" if single or cut == len(plan.stages) else "all",
            "precision": str(self._circumstances["precision"]),
            "device": str(self._circumstances["device"]),
        }
        return PrefixKey(digest, about)

    def _tensors(self, cut: int) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer but those that only later stages read; by name."""
        for name, parameter in self._classifier.named_parameters():
            if self._computation.first_reads.get(id(parameter), 0) < cut:
                yield name, parameter
        for name, buffer in self._classifier.named_buffers():
            if self._computation.first_reads.get(id(buffer), 0) < cut:
                yield name, buffer

    def _content(self, cut: int) -> str:
        """A digest of what else the backbone holds, such as a list of words: which part of it is
        read depends on the text."""
        parts: list[object] = [self._classifier.backbone]
        if cut == len(self._plan.stages):
            parts.append(self._classifier.pooling)
        classifier = self._classifier
        return content_digest(
            parts, {id(each) for each in (*classifier.parameters(), *classifier.buffers())}
        )

    def _digest(self, name: str, tensor: Tensor) -> str:
        if name not in self._digests:
            self._digests[name] = _digest(tensor)
        return self._digests[name]

    @functools.cached_property
    def _computation(self) -> _Computation:
        return _Computation(self._classifier, self._positions)


class _Computation:
    """What each stage of a double, and last the head, is seen to do with one text, so that no
    component need tell, and none is changed."""

    def __init__(self, classifier: Classifier, positions: int) -> None:
        device = next(classifier.parameters()).device
        double = double_of(classifier)
        pairs = [  # before the double is run, which may make buffers, or put others in their place
            *zip(classifier.parameters(), double.parameters(), strict=True),
            *zip(classifier.buffers(), double.buffers(), strict=True),
        ]
        with same_draws(device), torch.no_grad():
            seen = see_stages(double, any_texts(1, positions, device), training=False)
        operations = [each.operations for each in seen]
        self.first_reads: dict[int, int] = {}
        """The first stage that reads each parameter and buffer, by ``id``; what is never seen is
        not in it."""
        for index, each in enumerate(operations):
            for tensor, its_double in pairs:
                if storages(its_double) & each.reads:
                    self.first_reads.setdefault(id(tensor), index)
        known = storages([its_double for _, its_double in pairs])
        self._digests = []
        for each in operations:
            outside = [t for memory, t in each.outside.items() if memory not in known]
            steps = [f"{step} {flags}" for step, flags in each.steps]
            text = " ".join([*steps, *map(_digest, outside)])
            self._digests.append(hashlib.sha256(text.encode()).hexdigest())
            known |= each.made.keys()

    def digests(self, cut: int) -> list[str]:
        """Of each stage before ``cut``: its steps, the numbers in them, and the content of every
        tensor that is neither parameter nor buffer, such as one that a hook holds."""
        return self._digests[:cut]


def _digest(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
