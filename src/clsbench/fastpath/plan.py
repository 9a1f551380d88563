"""Plan which computations of a classifier can be skipped or reused.

The plan is derived from the classifier itself. A stage counts as frozen if its output carries no
gradient, so any freezing strategy, adapter and backbone is supported. The plan is made on the meta
device, before weights are loaded.
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
from clsbench.model.meta_results import MetaResults
from clsbench.schema.quantities import size_text
from clsbench.schema.record import Shortcut

PREFIX, POSITION, PACKING = "prefix", "position", "packing"
SHORTCUTS = (PREFIX, POSITION, PACKING)
"""The names that ``--no-fast`` accepts."""

_MANY_TEXTS = 64
"""More texts than in a batch, as in evaluation, where batches are joined."""

NOTHING_FORBIDDEN: Mapping[str, str] = MappingProxyType({})
_PADDED_BY_BATCH = "texts are padded to their batch, so the padding of a text varies"
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp64": 8}


class EpochCut(NamedTuple):
    """The cut of one epoch: stages before ``cut`` are computed once per text and kept (0: none).

    ``since`` is the last earlier epoch that trained one of these stages, which invalidates older
    activations; -1 if there is none.
    """

    cut: int
    since: int


class FastPlan(NamedTuple):
    """The shortcuts of a run.

    ``stages`` holds the names of the chain's stages. From stage ``single`` on, only the pooled
    position is computed. ``padded``: all texts are padded to one length. ``unpadded``: padding is
    not computed; texts are packed if ``packed``, otherwise batches are narrowed to their longest
    text. ``mixed_lengths``: a batch may contain texts of different lengths. ``joins``: batches may
    be joined in evaluation.
    ``first_trained`` holds, by epoch, the index of the first stage with a trained parameter, or the
    number of stages. ``tensors`` holds the names of the parameters and buffers that each stage
    reads. ``uncached``: why activations are not cached across runs, or ``None`` if they are.
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
        """The names of the enabled shortcuts."""
        return tuple(shortcut.name for shortcut in self.shortcuts if shortcut.taken)

    def without(self, names: Collection[str], reason: str) -> FastPlan:
        """The plan with the shortcuts ``names`` disabled for this reason."""
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
    """How batches are made: padded to one length or per batch, the number of texts in a batch, and
    the length of the longest text in tokens."""

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
    """Plan the shortcuts for a classifier.

    ``outline`` is the classifier on the meta device, including its adapter. ``forbidden`` maps
    shortcuts that must not be used to the reasons. ``facts_of`` identifies objects that modules
    hold. Changes ``requires_grad`` of the outline's parameters.
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
        return _nothing(names, freezing, batching, "global module hooks are registered in torch")
    uncached = outside_contract(outline, facts_of)
    inputs = any_texts(2, batching.positions, "meta")
    probes = {}
    try:
        with MetaResults():
            # Not with one text, for which torch uses other kernels; the trial covers that case.
            counts = {batching.batch_size, _MANY_TEXTS} - {1}
            behaviour = behaviour_of(outline, inputs, other_counts=sorted(counts))
            if behaviour.changes and uncached is not None:
                return _nothing(
                    names, freezing, batching, f"the classifier changes its state, and {uncached}"
                )
            for trained in set(freezing.by_epoch):
                freezing.apply(outline, trained)
                probes[trained] = probe = probe_stages(outline, inputs, behaviour)
                if probe.reshapes is not None:
                    reason = f"{names[probe.reshapes]} does not return one vector per position"
                    return _nothing(names, freezing, batching, reason)
    except WritesWeightsError as error:
        return _nothing(
            names, freezing, batching, f"the forward pass writes to the parameter {error}"
        )
    drawing = min(probe.first_drawing for probe in probes.values())
    backbone: BackboneModule = outline.backbone  # type: ignore[assignment]
    if drawing < len(names):
        reason = f"{names[drawing]} {_variation(drawing, behaviour)}"
        forbidden = {**forbidden, **dict.fromkeys((POSITION, PACKING), reason)}
    if _counts_tokens(outline, freezing):
        reason = "an embedding scales its gradients by token frequency (scale_grad_by_freq)"
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
        reason = (
            f"no stage read the trained parameter {unread[0]} in the probe, but a stage may read "
            "it for other texts"
        )
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
    """The maximum number of bytes that the plan keeps for texts with these ``lengths``.

    ``width`` is the number of features per position. Duplicate texts, which are kept once, are
    counted separately.
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
    """The plan, given the bytes that are available in memory and on disk.

    The prefix needs at most ``most_bytes``, of which ``least_bytes`` are for the shortest text. If
    not even that fits, the prefix is disabled; if only a part fits, its detail says so.
    """
    prefix, *others = plan.shortcuts
    if not prefix.taken:
        return plan
    memory, disk = (size_text(size) if size else "none" for size in room)
    needs = f"at most {size_text(most_bytes)}; limits: {memory} in memory, {disk} on disk"
    if max(room) < least_bytes:
        reason = f"the activations do not fit; raise --cache-memory or --cache-disk ({needs})"
        return plan.without([PREFIX], reason)
    rest = "" if max(room) >= most_bytes else "; the rest is computed every time"
    detail = f"{prefix.detail} ({needs}{rest})"
    return plan._replace(shortcuts=(Shortcut(name=PREFIX, taken=True, detail=detail), *others))


def _nothing(
    names: tuple[str, ...], freezing: FreezingPlan, batching: Batching, reason: str
) -> FastPlan:
    """The plan with all shortcuts disabled for this reason."""
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


def _variation(stage: int, behaviour: StageBehaviour) -> str:
    if stage in behaviour.counting:
        return "runs other operations for a different number of texts"
    return "uses random numbers, changes state, or behaves differently in training mode"


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
        return no("batches contain one text, so nothing is padded", unpadded=True)
    if PACKING in forbidden:
        return no(forbidden[PACKING])
    if backbone.attends_to_padding:
        return no("real tokens attend to padding (no causal mask)")
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
        return no("every stage of the backbone is position-wise")
    name = stages[single].name
    if stages[single].at_positions is not None:
        detail = f"from {name} on, only the pooled position is computed (except keys and values)"
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
        does = "is trained" if trains else _variation(end, behaviour)
        if 0 < end <= ending.first_product:
            part = ", at least in part" if trains else ""
            return no(
                f"{names[end]} {does}{part}; the stages before it ({_stages_text(names, end)}) "
                "only look up values, so caching would not be faster"
            )
        return no(f"the first stage ({names[0]}) {does}")
    first_trained = [probe.first_trained for probe in probes]
    epochs = tuple(
        EpochCut(cut, _last_trained(first_trained[:epoch], cut)) for epoch, cut in enumerate(cuts)
    )
    parts = [_stages_text(names, cut) for cut in dict.fromkeys(cuts)]
    which = parts[0] if len(parts) == 1 else f"by epoch: {', then '.join(parts)}"
    detail = f"frozen stages ({which}) are computed once per distinct text and kept"
    if uncached is not None:
        detail += f"; not cached across runs: {uncached}"
    return epochs, Shortcut(name=PREFIX, taken=True, detail=detail)


def _last_trained(first_trained: Sequence[int], cut: int) -> int:
    return max((e for e, first in enumerate(first_trained) if first < cut), default=-1)


def _stages_text(names: Sequence[str], cut: int) -> str:
    if cut == 0:
        return "nothing"
    return names[0] if cut == 1 else f"{names[0]} to {names[cut - 1]}"
