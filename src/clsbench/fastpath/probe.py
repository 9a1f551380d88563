"""What the stages of a classifier do, seen while a text goes through them.

Nobody declares it: gradients, operations, the tensors that these read, and what they leave changed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from clsbench.fastpath.chain import Chain, Inputs
from clsbench.model.classifier import Classifier


class Probe(NamedTuple):
    """What the stages of the chain do in training mode, with certain parameters trained.

    Each is the index of a stage, or the chain's length: the first that reads a trained parameter,
    the first that draws random numbers, changes what the classifier holds, or does something else
    than in evaluation mode, the first that multiplies matrices. ``reshapes``: the first that gives
    another number of positions, or ``None``.
    """

    first_trained: int
    first_drawing: int
    first_product: int
    reshapes: int | None

    @property
    def cut(self) -> int:
        """How many leading stages give the same every time, if there is work to be saved."""
        same = min(self.first_trained, self.first_drawing)
        return same if same > self.first_product else 0


class Seen(NamedTuple):
    """What a stage gave and did; ``changes``: parameters or buffers are not as they were."""

    hidden: Tensor
    operations: Operations
    changes: bool


def any_texts(count: int, positions: int, device: torch.device | str) -> Inputs:
    """So many texts of so many positions."""
    ids = torch.zeros(count, positions, dtype=torch.int64, device=device)
    return Inputs(ids, torch.full((count,), positions, device=device), None, None)


def working_otherwise(outline: Classifier, inputs: Inputs) -> frozenset[int]:
    """The stages that take other steps while training than in evaluation."""
    taken = []
    for training in (False, True):
        outline.train(training)
        with torch.no_grad():  # which kernel is chosen may depend on what needs gradients
            taken.append([seen.operations.steps for seen in stages_seen(outline, inputs)])
    return frozenset(n for n, (one, other) in enumerate(zip(*taken, strict=True)) if one != other)


def probe_stages(outline: Classifier, inputs: Inputs, otherwise: frozenset[int]) -> Probe:
    """Send texts through every stage; ``otherwise`` are those that do something else in training.

    What is trained are the parameters that require gradients.
    """
    outline.train()
    trained = storages(p for p in outline.parameters() if p.requires_grad)
    stages = len(Chain(outline, None))
    first_trained = first_drawing = first_idle = first_product = stages
    reshapes: int | None = None
    hidden: Tensor | None = None
    for index, (hidden, operations, changes) in enumerate(stages_seen(outline, inputs)):
        # What is read without a gradient changes all the same.
        if hidden.requires_grad or trained & operations.reads:
            first_trained = min(index, first_trained)
        if operations.draws or changes or index in otherwise:
            first_drawing = min(index, first_drawing)
        if operations.idle_draws:
            first_idle = min(index, first_idle)
        if operations.products:
            first_product = min(index, first_product)
        if reshapes is None and index < stages - 1 and hidden.shape[:2] != inputs.input_ids.shape:
            reshapes = index
    with Operations(outline) as head, inputs.input_ids.device:
        outline.out_head(hidden)
    if head.draws or first_drawing < stages:
        # Draws without effect still move the generator from which others draw.
        first_drawing = min(first_drawing, first_idle)
    return Probe(first_trained, first_drawing, first_product, reshapes)


def stages_seen(classifier: Classifier, inputs: Inputs) -> Iterator[Seen]:
    """What each stage gives and does; the first does what prepares them all, too."""
    chain = Chain(classifier, None)
    hidden: Tensor | None = None
    context: Any = None
    before = _held(classifier)
    for index in range(len(chain)):
        with Operations(classifier) as operations, inputs.input_ids.device:
            if index == 0:
                context = chain.context(inputs)
            hidden = chain.run(index, hidden, context, inputs)
        after = _held(classifier)
        yield Seen(hidden, operations, after != before)
        before = after


def storages(values: object) -> set[int]:
    """The memory in which tensors lie, wherever they stand in ``values``, views with their base."""
    found = set()
    for value in tree_leaves(list(values) if isinstance(values, Iterator) else values):
        if isinstance(value, Tensor) and value.layout == torch.strided:
            found.add(value.untyped_storage()._cdata)
    return found


_PLAIN = (bool, int, float, str)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices operations: ``draws`` of random numbers (from torch, Python or NumPy),
    ``idle_draws`` without effect, and ``products`` of matrices; ``steps`` are all others, with the
    numbers and flags they were given, and ``reads`` the memory of all tensors that went into any.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._classifier = classifier
        self.draws = self.idle_draws = self.products = False
        self.steps: list[tuple[Any, list[object]]] = []
        self.reads: set[int] = set()

    def __enter__(self) -> Operations:
        self._generators = _generator_states(self._classifier)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self.draws |= self._generators != _generator_states(self._classifier)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.reads |= storages((args, kwargs))
        self.products |= func.overloadpacket in flop_registry
        if torch.Tag.nondeterministic_seeded in func.tags:
            names = [argument.name for argument in func._schema.arguments]
            given = dict(zip(names, args, strict=False)) | kwargs
            p = given.get("p")
            if "dropout_p" in names:  # fused attention draws only where it drops
                self.draws |= bool(given.get("dropout_p"))
            elif p == 0.0 or (p == 1.0 and "bernoulli" in func.name()):
                self.idle_draws = True
            else:
                self.draws = True
        else:
            flags = [value for value in (*args, *kwargs.values()) if type(value) in _PLAIN]
            self.steps.append((func, flags))
        return func(*args, **kwargs)


def _held(classifier: nn.Module) -> list[tuple[int, int]]:
    """What tells whether a parameter or buffer was changed or replaced."""
    tensors = (*classifier.parameters(), *classifier.buffers())
    return [(id(tensor), tensor._version) for tensor in tensors]


def _generator_states(classifier: nn.Module) -> list[Any]:
    """Of the generators that torch does not know, the modules' own among them."""
    states: list[Any] = [random.getstate(), _numpy_state(np.random.get_state())]
    for module in classifier.modules():
        for value in vars(module).values():
            if isinstance(value, random.Random):
                states.append(value.getstate())
            elif isinstance(value, np.random.RandomState):
                states.append(_numpy_state(value.get_state()))
            elif isinstance(value, np.random.Generator):
                states.append(repr(value.bit_generator.state))
            elif isinstance(value, torch.Generator):
                states.append(value.get_state().tolist())
    return states


def _numpy_state(state: Any) -> tuple[Any, ...]:
    name, keys, *rest = state
    return name, np.asarray(keys).tobytes(), rest
