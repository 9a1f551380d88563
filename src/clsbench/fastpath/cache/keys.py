"""The cache keys of a frozen prefix's activations."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.safety.contract import CacheFacts, module_facts, no_cache_facts
from clsbench.model.classifier import Classifier

_FORMAT = 7
"""Increase it when built-in stages compute different results from the same weights."""

_HEAD = "out_head."


class PrefixKeys:
    """The keys of a classifier's activations, by cut, for its current weights.

    A key covers the weights, other values in the modules (see
    :mod:`clsbench.fastpath.safety.contract`) and the ``circumstances``, as plain values: the
    components, their options and identities, the padded length, precision and device type. Each
    tensor is hashed once, on first use; ``digests`` are those of this classifier so far.
    """

    def __init__(
        self,
        classifier: Classifier,
        plan: FastPlan,
        circumstances: Mapping[str, Any],
        facts_of: CacheFacts = no_cache_facts,
        digests: dict[str, str] | None = None,
    ) -> None:
        self._classifier = classifier
        self._plan = plan
        self._circumstances = circumstances
        self._facts_of = facts_of
        self._digests: dict[str, str] = {} if digests is None else digests
        self._keys: dict[int, PrefixKey] = {}

    def at(self, cut: int) -> PrefixKey:
        """The key of the activations before stage ``cut``.

        Raises:
            OutsideContractError: a module holds an object that cannot be identified.
        """
        if cut not in self._keys:
            self._keys[cut] = self._make(cut)
        return self._keys[cut]

    def _make(self, cut: int) -> PrefixKey:
        plan = self._plan
        single = plan.single is not None and cut > plan.single
        pooled = cut == len(plan.stages)
        backbone, pooling = self._modules
        facts = {
            "format": _FORMAT,
            "stages": plan.stages[:cut],
            "single": single,
            "unpadded": plan.unpadded,
            "tensors": {name: self._digest(name, t) for name, t in self._tensors(cut)},
            "modules": [backbone, pooling] if pooled else [backbone],
            **self._circumstances,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        about = {
            "backbone": str(self._circumstances["backbone"]),
            "cut": f"after {plan.stages[cut - 1]}",
            "positions": "pooled" if single or pooled else "all",
            "precision": str(self._circumstances["precision"]),
            "device": str(self._circumstances["device"]),
        }
        return PrefixKey(digest, about)

    @functools.cached_property
    def _modules(self) -> list[list[object]]:
        return [
            module_facts(self._classifier, part, self._facts_of) for part in ("backbone", "pooling")
        ]

    def _tensors(self, cut: int) -> Iterator[tuple[str, Tensor]]:
        """All parameters and buffers except those that only later stages or the head read.

        Tensors that no stage read in the probe are included, since a stage may read them for some
        texts only.
        """
        before, after = (
            frozenset[str]().union(*names)
            for names in (self._plan.tensors[:cut], self._plan.tensors[cut:])
        )
        for name, tensor in (
            *self._classifier.named_parameters(),
            *self._classifier.named_buffers(),
        ):
            if name in before or not (name in after or name.startswith(_HEAD)):
                yield name, tensor

    def _digest(self, name: str, tensor: Tensor) -> str:
        if name not in self._digests:
            digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_tensor_bytes(tensor))
            self._digests[name] = digest.hexdigest()
        return self._digests[name]


def _tensor_bytes(tensor: Tensor) -> memoryview:
    """The values of a strided tensor in contiguous memory."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
    if flat.stride(0) != 1:  # a tensor of one element may have any stride
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data
