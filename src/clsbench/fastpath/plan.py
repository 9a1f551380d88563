"""Which parts of a classifier need not be computed again, or at all: derived, never declared.

A stage is frozen when what it gives carries no gradient, whatever froze it: so the plan serves any
freezing strategy, adapter and backbone. It is made on the meta device, before there are weights.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from clsbench.components import BackboneModule, PackingBackboneModule, Pooling
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan
from clsbench.values import Shortcut

PREFIX, POSITION, PACKING = "prefix", "position", "packing"
SHORTCUTS = (PREFIX, POSITION, PACKING)
"""The names that ``--no-fast`` takes."""

NOTHING_FORBIDDEN: Mapping[str, str] = MappingProxyType({})
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp64": 8}


class EpochCut(NamedTuple):
    """In one epoch, the stages before ``cut`` are computed once per text and kept; 0: none.

    ``since`` is the last epoch before it in which a part of them was trained, so that what was
    kept before is void; -1 if none was.
    """

    cut: int
    since: int


class FastPlan(NamedTuple):
    """What is computed of a classifier, where and how often.

    ``stages`` names those of the chain; from stage ``single`` on only the pooled position is
    computed. ``unpadded``: padding is left out, by packing the texts if ``packed``, else by
    narrowing a batch to its widest text. ``mixed_lengths``: texts of different lengths may stand
    in one batch, so that batches may be joined where nothing is trained. ``first_trained`` holds
    by epoch the first stage with a trained parameter, or how many there are.
    """

    stages: tuple[str, ...]
    single: int | None
    unpadded: bool
    packed: bool
    mixed_lengths: bool
    epochs: tuple[EpochCut, ...]
    first_trained: tuple[int, ...]
    shortcuts: tuple[Shortcut, ...]

    def holds_since(self, cut: int, epoch: int) -> int:
        """The last epoch before ``epoch`` in which a stage before ``cut`` was trained; -1: none."""
        return _last_trained(self.first_trained[:epoch], cut)


class Batching(NamedTuple):
    """How texts come: padded to one length (or batch by batch), how many in a batch, and how many
    positions the widest has."""

    padded: bool
    batch_size: int
    positions: int


def plan_fast_path(
    outline: Classifier,
    pooling: Pooling,
    freezing: FreezingPlan,
    batching: Batching,
    forbidden: Mapping[str, str] = NOTHING_FORBIDDEN,
) -> FastPlan:
    """The plan for a classifier, given its ``outline`` on the meta device with its adapter.

    ``forbidden`` names shortcuts that are not to be taken, each with the reason. The
    ``requires_grad`` of the outline's parameters is changed.
    """
    names = Chain(outline, None).names
    if _is_changed(outline):
        return nothing(names, freezing, "an adapter has changed the classifier's forward pass")
    inputs = _any_texts(batching.positions)
    otherwise = _working_otherwise(outline, inputs)
    probes = {}
    for trained in set(freezing.by_epoch):
        freezing.apply(outline, trained)
        probes[trained] = probe = _probe(outline, inputs, otherwise)
        if probe.reshapes is not None:
            reason = f"{names[probe.reshapes]} does not give one vector for each position"
            return nothing(names, freezing, reason)
    drawing = min(probe.first_drawing for probe in probes.values())
    backbone: BackboneModule = outline.backbone  # type: ignore[assignment]
    if drawing < len(names):
        reason = f"{names[drawing]} draws at random or depends on its batch while training"
        forbidden = {**forbidden, **dict.fromkeys((POSITION, PACKING), reason)}
    unpadded, packed, packing = _plan_packing(backbone, pooling, batching, forbidden)
    single, position = _plan_position(outline, pooling, forbidden)
    if not (batching.padded or unpadded):
        forbidden = {
            PREFIX: "texts are padded batch by batch, so that none is the same every time",
            **forbidden,
        }
    by_epoch = [probes[trained] for trained in freezing.by_epoch]
    epochs, prefix = _plan_prefix(names, by_epoch, forbidden)
    return FastPlan(
        stages=names,
        single=single,
        unpadded=unpadded,
        packed=packed,
        mixed_lengths=not unpadded or not (backbone.attends_to_padding or pooling.reads_padding()),
        epochs=epochs,
        first_trained=tuple(probe.first_trained for probe in by_epoch),
        shortcuts=(prefix, position, packing),
    )


def kept_bytes(
    plan: FastPlan, lengths: Sequence[int], padded_length: int, width: int, precision: str
) -> int:
    """The bytes that the plan keeps at most of texts with these ``lengths``.

    ``width`` is the number of features a position. Equal texts, kept once, are counted apart.
    """
    single = len(plan.stages) - 1 if plan.single is None else plan.single
    positions = 0
    for cut in {cut for cut, since in plan.epochs if cut and since < 0}:
        if cut > single:
            positions += len(lengths)
        elif plan.unpadded:
            positions += sum(max(length, 1) for length in lengths)
        else:
            positions += len(lengths) * padded_length
    return positions * width * _NUMBER_BYTES[precision]


def nothing(names: tuple[str, ...], freezing: FreezingPlan, reason: str) -> FastPlan:
    """The plan that takes no shortcut, for this reason."""
    shortcuts = tuple(Shortcut(name=name, taken=False, detail=reason) for name in SHORTCUTS)
    epochs = len(freezing.by_epoch)
    return FastPlan(
        names, None, False, False, False, (EpochCut(0, -1),) * epochs, (0,) * epochs, shortcuts
    )


def _is_changed(outline: Classifier) -> bool:
    hooks = (
        outline._forward_hooks,
        outline._forward_pre_hooks,
        outline._backward_hooks,
        outline._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(outline)


# --- padding --------------------------------------------------------------------------------------


def _plan_packing(
    backbone: BackboneModule, pooling: Pooling, batching: Batching, forbidden: Mapping[str, str]
) -> tuple[bool, bool, Shortcut]:
    def no(reason: str, unpadded: bool = False) -> tuple[bool, bool, Shortcut]:
        return unpadded, False, Shortcut(name=PACKING, taken=False, detail=reason)

    if not batching.padded and batching.batch_size == 1:
        return no("texts come one by one: there is no padding", unpadded=True)
    if PACKING in forbidden:
        return no(forbidden[PACKING])
    if backbone.attends_to_padding:
        return no("real tokens attend to padding (there is no causal mask)")
    if pooling.reads_padding():
        return no("the pooling reads padding")
    if isinstance(backbone, PackingBackboneModule):
        return True, True, Shortcut(name=PACKING, taken=True, detail="no padding is computed")
    detail = "batches are narrowed to their widest text (this backbone cannot pack them)"
    return True, False, Shortcut(name=PACKING, taken=True, detail=detail)


# --- the pooled position --------------------------------------------------------------------------


def _plan_position(
    outline: Classifier, pooling: Pooling, forbidden: Mapping[str, str]
) -> tuple[int | None, Shortcut]:
    def no(reason: str) -> tuple[None, Shortcut]:
        return None, Shortcut(name=POSITION, taken=False, detail=reason)

    if POSITION in forbidden:
        return no(forbidden[POSITION])
    if pooling.positions(torch.tensor([1, 2]), 2) is None:
        return no("the pooling reads more than one position")
    stages = tuple(outline.backbone.stages())  # type: ignore[operator]
    single = max((i for i, stage in enumerate(stages) if not stage.positionwise), default=None)
    if single is None:
        return no("the backbone has no stage that looks at several positions")
    name = stages[single].name
    if stages[single].at_positions is not None:
        detail = f"from {name} on, only the pooled position is computed (keys and values aside)"
    else:
        detail = f"after {name}, only the pooled position is computed"
    return single, Shortcut(name=POSITION, taken=True, detail=detail)


# --- the frozen prefix ----------------------------------------------------------------------------


def _plan_prefix(
    names: Sequence[str], probes: Sequence[_Probe], forbidden: Mapping[str, str]
) -> tuple[tuple[EpochCut, ...], Shortcut]:
    def no(reason: str) -> tuple[tuple[EpochCut, ...], Shortcut]:
        return (EpochCut(0, -1),) * len(probes), Shortcut(name=PREFIX, taken=False, detail=reason)

    if PREFIX in forbidden:
        return no(forbidden[PREFIX])
    cuts = [probe.cut for probe in probes]
    if not any(cuts):
        ending = max(probes, key=lambda probe: min(probe.first_trained, probe.first_drawing))
        if 0 < min(ending.first_trained, ending.first_drawing) <= ending.first_product:
            return no(f"only {names[0]} is frozen, which is looked up as fast as it is read")
        trains = ending.first_trained == 0
        return no(f"{names[0]} {'trains' if trains else 'works otherwise while training'}")
    first_trained = [probe.first_trained for probe in probes]
    epochs = tuple(
        EpochCut(cut, _last_trained(first_trained[:epoch], cut)) for epoch, cut in enumerate(cuts)
    )
    parts = [_stages_text(names, cut) for cut in dict.fromkeys(cuts)]
    detail = f"computed once for each distinct text, then kept: {', then '.join(parts)}"
    return epochs, Shortcut(name=PREFIX, taken=True, detail=detail)


def _last_trained(first_trained: Sequence[int], cut: int) -> int:
    return max((e for e, first in enumerate(first_trained) if first < cut), default=-1)


def _stages_text(names: Sequence[str], cut: int) -> str:
    if cut == 0:
        return "nothing"
    return names[0] if cut == 1 else f"{names[0]} to {names[cut - 1]}"


class _Probe(NamedTuple):
    """What the stages of the chain do in training mode, with certain parameters trained.

    Each is the index of a stage, or the chain's length: the first with a trained parameter, the
    first that draws random numbers or does something else than in evaluation mode, the first that
    multiplies matrices. ``reshapes``: the first that gives another number of positions, or
    ``None``.
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


def _any_texts(positions: int) -> Inputs:
    """Two texts of so many positions, on the meta device."""
    with torch.device("meta"):
        ids = torch.zeros(2, positions, dtype=torch.int64)
        return Inputs(ids, torch.full((2,), positions, dtype=torch.int64), None, None)


def _working_otherwise(outline: Classifier, inputs: Inputs) -> frozenset[int]:
    """The stages that take other steps while training than in evaluation."""
    taken = []
    for training in (False, True):
        outline.train(training)
        with torch.no_grad():  # which kernel is chosen may depend on what needs gradients
            taken.append([seen.steps for _, seen in _stages_seen(Chain(outline, None), inputs)])
    return frozenset(n for n, (one, other) in enumerate(zip(*taken, strict=True)) if one != other)


def _probe(outline: Classifier, inputs: Inputs, otherwise: frozenset[int]) -> _Probe:
    """Send texts through every stage; watch gradients and operations.

    ``otherwise`` holds the stages that do something else while training.
    """
    chain = Chain(outline, None)
    outline.train()
    first_trained = first_drawing = first_idle = first_product = len(chain)
    reshapes: int | None = None
    hidden: Tensor | None = None
    for index, (hidden, seen) in enumerate(_stages_seen(chain, inputs)):
        if hidden.requires_grad:
            first_trained = min(index, first_trained)
        if seen.draws or index in otherwise:
            first_drawing = min(index, first_drawing)
        if seen.idle_draws:
            first_idle = min(index, first_idle)
        if seen.products:
            first_product = min(index, first_product)
        if (
            reshapes is None
            and index < len(chain) - 1
            and hidden.shape[:2] != inputs.input_ids.shape
        ):
            reshapes = index
    with _Operations() as head, torch.device("meta"):
        outline.out_head(hidden)
    if head.draws or first_drawing < len(chain):
        # Draws without effect still move the generator from which others draw.
        first_drawing = min(first_drawing, first_idle)
    return _Probe(first_trained, first_drawing, first_product, reshapes)


def _stages_seen(chain: Chain, inputs: Inputs) -> Iterator[tuple[Tensor, _Operations]]:
    """What each stage gives, and what it did; the first did what prepares them all, too."""
    hidden: Tensor | None = None
    context: Any = None
    for index in range(len(chain)):
        with _Operations() as seen, torch.device("meta"):
            if index == 0:
                context = chain.context(inputs)
            hidden = chain.run(index, hidden, context, inputs)
        yield hidden, seen


_PLAIN = (bool, int, float, str)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices operations: ``draws`` of random numbers (from torch, Python or NumPy),
    ``idle_draws`` without effect, and ``products`` of matrices; ``steps`` are all others, with the
    numbers and flags they were given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = self.idle_draws = self.products = False
        self.steps: list[tuple[Any, list[object]]] = []

    def __enter__(self) -> _Operations:
        self._generators = _generator_states()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self.draws |= self._generators != _generator_states()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
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


def _generator_states() -> tuple[Any, ...]:
    """Of the generators that torch does not know."""
    name, keys, *rest = np.random.get_state()
    return random.getstate(), name, np.asarray(keys).tobytes(), rest
