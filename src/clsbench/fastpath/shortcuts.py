"""Make the fast path of a run from its plan and the user's limits."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence

import torch

from clsbench.components.identity import decisive, options_by_content
from clsbench.components.resolve import Experiment
from clsbench.fastpath.cache.cache_files import activations_folder
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.fast_forward import Shortcuts
from clsbench.fastpath.kept_rows import KnownPrefixes, Room
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.safety.contract import CacheFacts, OutsideContractError
from clsbench.model.classifier import Classifier
from clsbench.schema.experiment import format_component
from clsbench.schema.options import RunOptions
from clsbench.schema.quantities import size_bytes
from clsbench.schema.record import ComponentIdentity
from clsbench.system.environment import free_memory_bytes

logger = logging.getLogger(__name__)

_DECIDING = ("backbone", "pooling", "adapter")
"""The axes whose components determine the activations of a prefix."""


def make_shortcuts(
    classifier: Classifier,
    plan: FastPlan,
    experiment: Experiment,
    identities: Sequence[ComponentIdentity],
    options: RunOptions,
    device: torch.device,
    max_length: int,
    needed_bytes: int = 0,
    known: KnownPrefixes | None = None,
) -> Shortcuts | None:
    """The shortcuts of ``plan`` for :class:`FastForward`; ``None`` if all are disabled.

    ``classifier`` must still have its initial weights. ``identities`` are those of the experiment's
    components; later runs with the same identities reuse the activations. ``needed_bytes`` is the
    memory that the run still needs for gradients and the optimizer. ``known`` holds what earlier
    runs of this process found out about the same classifier.
    """
    if not any(shortcut.taken for shortcut in plan.shortcuts):
        return None
    disk_bytes = size_bytes(options.cache_disk)
    deciding = {
        each.axis: {
            "component": format_component(options_by_content(experiment.tree[each.axis], each)),
            **decisive(each),
        }
        for each in identities
        if each.axis in _DECIDING
    }
    pooling = json.dumps(deciding.pop("pooling"), sort_keys=True)
    circumstances = {
        "backbone": deciding["backbone"]["component"],
        "components": deciding,
        "max_length": max_length,
        "precision": options.precision,
        "device": device.type,
    }

    texts = "without padding" if plan.unpadded else f"padded to {max_length}"
    digests = known.digests if known is not None else None
    keys = PrefixKeys(classifier, plan, circumstances, cache_facts_of(experiment), digests)
    problems: list[OutsideContractError] = []

    def key(cut: int) -> PrefixKey | None:
        pooled = cut == len(plan.stages) or (plan.single is not None and cut > plan.single)
        if not disk_bytes or plan.uncached is not None or problems:
            return None
        try:
            found = keys.at(cut)
        except OutsideContractError as error:
            logger.warning("prefix activations are not cached across runs: %s", error)
            problems.append(error)
            return None
        backbone = experiment.label("backbone")
        found = found._replace(about={**found.about, "backbone": backbone, "texts": texts})
        if not pooled:  # does not depend on the pooling
            return found
        return found._replace(
            digest=hashlib.sha256(f"{found.digest} {pooling}".encode()).hexdigest()
        )

    folder = activations_folder()
    room = Room(
        memory_bytes=memory_room_bytes(options, device, needed_bytes),
        disk=DiskCache(folder, disk_bytes) if disk_bytes else None,
        temporary=DiskCache(folder.parent, disk_bytes, temporary=True) if disk_bytes else None,
        proven=known.proven if known is not None else None,
    )
    return Shortcuts(plan, experiment.pooling, room, key)


def cache_facts_of(experiment: Experiment) -> CacheFacts:
    """The ``cache_facts()`` of the adapter, or else of the backbone."""

    def facts(value: object) -> object:
        for component in (experiment.adapter, experiment.backbone):
            if component is not None and (found := component.cache_facts(value)) is not None:
                return found
        return None

    return facts


def memory_room_bytes(options: RunOptions, device: torch.device, needed_bytes: int) -> int:
    """The user's limit; by default half of the free memory, or less if the run needs the rest."""
    if options.cache_memory is not None:
        return size_bytes(options.cache_memory)
    free_bytes = free_memory_bytes(device)
    return max(min(free_bytes // 2, free_bytes - needed_bytes), 0)
