"""What fixes the activations of a frozen prefix, as a key under which later runs find them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.disk_cache import PrefixKey
from clsbench.fastpath.plan import FastPlan
from clsbench.model.classifier import Classifier

_FORMAT = 2
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
        self._leaves: list[set[int]] | None = None
        self._digests: dict[str, str] = {}
        self._keys: dict[int, PrefixKey] = {}

    def at(self, cut: int) -> PrefixKey:
        """The key of the activations before stage ``cut``."""
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
        """Every parameter that takes part in the first ``cut`` stages, every buffer; by name."""
        if self._leaves is None:
            self._leaves = _leaves_by_cut(self._classifier, self._positions)
        for name, parameter in self._classifier.named_parameters():
            if id(parameter) in self._leaves[cut]:
                yield name, parameter
        yield from self._classifier.named_buffers()

    def _digest(self, name: str, tensor: Tensor) -> str:
        if name not in self._digests:
            values = tensor.detach().cpu()
            digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            if values.is_sparse or values.is_quantized:
                values = values.to_dense() if values.is_sparse else values.dequantize()
            digest.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
            self._digests[name] = digest.hexdigest()
        return self._digests[name]


def _leaves_by_cut(classifier: Classifier, positions: int) -> list[set[int]]:
    """For every cut the parameters, by ``id``, on which activations there depend.

    Found in the graph that autograd makes of a text, so that no component need tell.
    """
    before = {parameter: parameter.requires_grad for parameter in classifier.parameters()}
    device = next(classifier.parameters()).device
    chain = Chain(classifier, None)
    ids = torch.zeros(1, positions, dtype=torch.int64, device=device)
    inputs = Inputs(ids, torch.full((1,), positions, device=device), None, None)
    hidden: Tensor | None = None
    found: list[set[int]] = [set()]
    training = classifier.training
    classifier.eval()
    try:
        for parameter in before:
            parameter.requires_grad_(parameter.is_floating_point())
        forgetting = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: tensor.shape, _nobody_asks
        )
        with torch.enable_grad(), forgetting:  # nobody goes back
            context = chain.context(inputs)
            seen: set[Any] = set()
            for index in range(len(chain)):
                hidden = chain.run(index, hidden, context, inputs)
                found.append(found[-1] | _leaves(hidden.grad_fn, seen))
    finally:
        classifier.train(training)
        for parameter, required in before.items():
            parameter.requires_grad_(required)
    return found


def _forget(tensor: Tensor) -> torch.Size:
    return tensor.shape


def _nobody_asks(_: object) -> Tensor:
    raise AssertionError("no gradient is computed here")


def _leaves(root: Any, seen: set[Any]) -> set[int]:
    """The leaves of a graph, but for those behind nodes that were seen before."""
    found = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found
