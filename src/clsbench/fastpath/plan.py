"""Which parts of a classifier need not be computed again, or at all: derived, never declared.

A stage is frozen when what it gives carries no gradient, whatever froze it: so the plan serves any
freezing strategy, adapter and backbone. It is made on the meta device, before there are weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from clsbench.components.axes import BackboneModule, PackingBackboneModule, Pooling
from clsbench.fastpath.chain import Chain
from clsbench.fastpath.safety.contract import CacheFacts, no_cache_facts, outside_contract
from clsbench.fastpath.safety.operations import WritesWeightsError
from clsbench.fastpath.safety.probe import (
    Probe,
    StageBehaviour,
    any_texts,
    behaviour_of,
    probe_stages,
)
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.quantities import size_text
from clsbench.schema.record import Shortcut

PREFIX, POSITION, PACKING = "prefix", "position", "packing"
SHORTCUTS = (PREFIX, POSITION, PACKING)
"""The names that ``--no-fast`` takes."""

_MANY_TEXTS = 64
"""More than a batch, as where batches are joined in evaluation."""

NOTHING_FORBIDDEN: Mapping[str, str] = MappingProxyType({})
_PADDED_BY_BATCH = "texts are padded batch by batch, so that none is the same every time"
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
    computed. ``padded``: texts come padded to one length. ``unpadded``: padding is left out, by
    packing the texts if ``packed``, else by narrowing a batch to its widest text.
    ``mixed_lengths``: texts of different lengths may stand in one batch. ``joins``: batches may be
    joined in evaluation as far as their lengths allow.
    ``first_trained`` holds by epoch the first stage with a trained parameter, or how many there
    are. ``tensors`` names the parameters and buffers that each stage reads. ``uncached``: why
    activations are not cached across runs, or ``None`` if they are.
    """

    stages: tuple[str, ...]
    single: int | None
    padded: bool
    unpadded: bool
    packed: bool
    mixed_lengths: bool
    joins: bool
    epochs: tuple[EpochCut, ...]
    first_trained: tuple[int, ...]
    tensors: tuple[frozenset[str], ...]
    uncached: str | None
    shortcuts: tuple[Shortcut, ...]

    def holds_since(self, cut: int, epoch: int) -> int:
        """The last epoch before ``epoch`` in which a stage before ``cut`` was trained; -1: none."""
        return _last_trained(self.first_trained[:epoch], cut)

    def taken(self) -> tuple[str, ...]:
        """The names of the shortcuts that are taken."""
        return tuple(shortcut.name for shortcut in self.shortcuts if shortcut.taken)

    def without(self, names: Collection[str], reason: str) -> FastPlan:
        """The plan that does not take the shortcuts ``names``, for this reason."""
        refused = {*names} & {*self.taken()}
        plan = self
        if PACKING in refused:
            plan = plan._replace(unpadded=False, packed=False, mixed_lengths=True)
            if not plan.padded and PREFIX not in refused:
                plan = plan.without([PREFIX], _PADDED_BY_BATCH)
        if POSITION in refused:
            plan = plan._replace(single=None)
        if PREFIX in refused:
            plan = plan._replace(epochs=(EpochCut(0, -1),) * len(self.epochs))
        return plan._replace(
            shortcuts=tuple(
                Shortcut(name=s.name, taken=False, detail=reason) if s.name in refused else s
                for s in plan.shortcuts
            )
        )


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
    facts_of: CacheFacts = no_cache_facts,
) -> FastPlan:
    """The plan for a classifier, given its ``outline`` on the meta device with its adapter.

    ``forbidden`` names shortcuts that are not to be taken, each with the reason. ``facts_of``
    identifies objects that modules hold. The ``requires_grad`` of the outline's parameters is
    changed.
    """
    names = Chain(outline, None).names
    if all(name in forbidden for name in SHORTCUTS):
        refused = tuple(Shortcut(name=n, taken=False, detail=forbidden[n]) for n in SHORTCUTS)
        return _nothing(names, freezing, batching, "")._replace(shortcuts=refused)
    if _is_changed(outline):
        return _nothing(
            names, freezing, batching, "an adapter has changed the classifier's forward pass"
        )
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return _nothing(
            names, freezing, batching, "torch has hooks on the forward pass of every module"
        )
    uncached = outside_contract(outline, facts_of)
    inputs = any_texts(2, batching.positions, "meta")
    probes = {}
    try:
        # Not with one, for which torch itself has other kernels: the trial sends one by itself.
        counts = {batching.batch_size, _MANY_TEXTS} - {1}
        behaviour = behaviour_of(outline, inputs, other_counts=sorted(counts))
        if behaviour.changes and uncached is not None:
            return _nothing(
                names, freezing, batching, f"the classifier changes state, and {uncached}"
            )
        for trained in set(freezing.by_epoch):
            freezing.apply(outline, trained)
            probes[trained] = probe = probe_stages(outline, inputs, behaviour)
            if probe.reshapes is not None:
                reason = f"{names[probe.reshapes]} does not give one vector for each position"
                return _nothing(names, freezing, batching, reason)
    except WritesWeightsError as error:
        return _nothing(
            names, freezing, batching, f"{error} is written to while the classifier computes"
        )
    drawing = min(probe.first_drawing for probe in probes.values())
    backbone: BackboneModule = outline.backbone  # type: ignore[assignment]
    if drawing < len(names):
        reason = f"{names[drawing]} {_does_otherwise(drawing, behaviour)}"
        forbidden = {**forbidden, **dict.fromkeys((POSITION, PACKING), reason)}
    if _counts_tokens(outline, freezing):
        reason = "an embedding scales its gradients by how often a token stands in a batch"
        forbidden = {PACKING: reason, **forbidden}
    unpadded, packed, packing = _plan_packing(backbone, pooling, batching, forbidden)
    single, position = _plan_position(outline, pooling, forbidden)
    if not (batching.padded or unpadded):
        forbidden = {
            PREFIX: _PADDED_BY_BATCH,
            **forbidden,
        }
    by_epoch = [probes[trained] for trained in freezing.by_epoch]
    if unread := sorted(name for probe in by_epoch for name in probe.unread):
        reason = f"no stage is seen to read {unread[0]}, which trains: for some texts one may"
        forbidden = {PREFIX: reason, **forbidden}
    epochs, prefix = _plan_prefix(names, by_epoch, behaviour, forbidden, uncached)
    return FastPlan(
        stages=names,
        single=single,
        padded=batching.padded,
        unpadded=unpadded,
        packed=packed,
        mixed_lengths=not unpadded or not (backbone.attends_to_padding or pooling.reads_padding()),
        joins=behaviour.joins,
        epochs=epochs,
        first_trained=tuple(probe.first_trained for probe in by_epoch),
        tensors=by_epoch[0].tensors,
        uncached=uncached,
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


def in_room(plan: FastPlan, most_bytes: int, least_bytes: int, room: tuple[int, int]) -> FastPlan:
    """The plan in view of the bytes of memory and of disk that there is room for.

    At most ``most_bytes`` are to be kept, ``least_bytes`` of the shortest text. Without room for
    that the prefix is not taken; where there is room for a part only, its detail says so.
    """
    prefix, *others = plan.shortcuts
    if not prefix.taken:
        return plan
    memory, disk = (size_text(size) if size else "none" for size in room)
    needs = f"at most {size_text(most_bytes)}; room: {memory} in memory, {disk} on disk"
    if max(room) < least_bytes:
        reason = f"there is no room to keep it, see --cache-memory and --cache-disk ({needs})"
        return plan.without([PREFIX], reason)
    rest = "" if max(room) >= most_bytes else "; what finds none is computed every time"
    detail = f"{prefix.detail} ({needs}{rest})"
    return plan._replace(shortcuts=(Shortcut(name=PREFIX, taken=True, detail=detail), *others))


def _nothing(
    names: tuple[str, ...], freezing: FreezingPlan, batching: Batching, reason: str
) -> FastPlan:
    """The plan that takes no shortcut, for this reason."""
    shortcuts = tuple(Shortcut(name=name, taken=False, detail=reason) for name in SHORTCUTS)
    epochs = len(freezing.by_epoch)
    return FastPlan(
        stages=names,
        single=None,
        padded=batching.padded,
        unpadded=False,
        packed=False,
        mixed_lengths=False,
        joins=False,
        epochs=(EpochCut(0, -1),) * epochs,
        first_trained=(0,) * epochs,
        tensors=(frozenset(),) * len(names),
        uncached=reason,
        shortcuts=shortcuts,
    )


def _does_otherwise(stage: int, behaviour: StageBehaviour) -> str:
    if stage in behaviour.counting:
        return "does something else for another number of texts"
    return "draws at random, changes something, or does something else while training"


def _is_changed(outline: Classifier) -> bool:
    hooks = (
        outline._forward_hooks,
        outline._forward_pre_hooks,
        outline._backward_hooks,
        outline._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(outline)


def _counts_tokens(outline: Classifier, freezing: FreezingPlan) -> bool:
    ever = freezing.ever()
    names = {id(parameter): name for name, parameter in outline.named_parameters()}
    return any(
        isinstance(module, nn.Embedding)
        and module.scale_grad_by_freq
        and freezing.trains(names[id(module.weight)], ever)
        for module in outline.modules()
    )


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
    names: Sequence[str],
    probes: Sequence[Probe],
    behaviour: StageBehaviour,
    forbidden: Mapping[str, str],
    uncached: str | None,
) -> tuple[tuple[EpochCut, ...], Shortcut]:
    def no(reason: str) -> tuple[tuple[EpochCut, ...], Shortcut]:
        return (EpochCut(0, -1),) * len(probes), Shortcut(name=PREFIX, taken=False, detail=reason)

    if PREFIX in forbidden:
        return no(forbidden[PREFIX])
    cuts = [probe.cut for probe in probes]
    if not any(cuts):
        ending = max(probes, key=lambda probe: min(probe.first_trained, probe.first_drawing))
        end = min(ending.first_trained, ending.first_drawing)
        trains = ending.first_trained == end
        does = "trains" if trains else _does_otherwise(end, behaviour)
        if 0 < end <= ending.first_product:
            part = " already, at least in part" if trains else ""
            return no(
                f"{names[end]} {does}{part}; before it there is only {_stages_text(names, end)}, "
                "looked up as fast as it would be read"
            )
        return no(f"{names[0]} {does}")
    first_trained = [probe.first_trained for probe in probes]
    epochs = tuple(
        EpochCut(cut, _last_trained(first_trained[:epoch], cut)) for epoch, cut in enumerate(cuts)
    )
    parts = [_stages_text(names, cut) for cut in dict.fromkeys(cuts)]
    which = parts[0] if len(parts) == 1 else f"by epoch {', then '.join(parts)}"
    detail = f"{which}, frozen: computed once for each distinct text, then kept"
    if uncached is not None:
        detail += f"; not cached across runs: {uncached}"
    return epochs, Shortcut(name=PREFIX, taken=True, detail=detail)


def _last_trained(first_trained: Sequence[int], cut: int) -> int:
    return max((e for e, first in enumerate(first_trained) if first < cut), default=-1)


def _stages_text(names: Sequence[str], cut: int) -> str:
    if cut == 0:
        return "nothing"
    return names[0] if cut == 1 else f"{names[0]} to {names[cut - 1]}"
