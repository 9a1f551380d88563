"""The fast path of a run: its plan, and the room that the user gives it."""

from __future__ import annotations

import torch

from clsbench.environment import free_memory_bytes
from clsbench.fastpath.cache_files import activations_folder
from clsbench.fastpath.disk_cache import DiskCache, PrefixKey
from clsbench.fastpath.forward import Shortcuts
from clsbench.fastpath.keys import PrefixKeys
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.prefix import Room
from clsbench.model.classifier import Classifier
from clsbench.options import RunOptions, size_bytes
from clsbench.resolve import Experiment
from clsbench.spec import format_component, to_tree

_DECIDING = ("backbone", "pooling", "adapter")
"""The axes whose components decide on the activations of a prefix."""


def make_shortcuts(
    classifier: Classifier,
    plan: FastPlan,
    experiment: Experiment,
    options: RunOptions,
    device: torch.device,
    max_length: int,
) -> Shortcuts | None:
    """What :class:`Forward` needs to follow ``plan``; ``None`` if it takes no shortcut.

    ``classifier`` must have its first weights still. Activations are kept for later runs unless
    a component that decides on them has no version: it may be another one tomorrow.
    """
    if not any(shortcut.taken for shortcut in plan.shortcuts):
        return None
    versions = {p.axis: p.version for p in experiment.plugins if p.axis in _DECIDING}
    disk_bytes = size_bytes(options.cache_disk) if None not in versions.values() else 0
    tree = to_tree(experiment.spec)
    circumstances = {
        **{axis: format_component(tree[axis]) for axis in versions},
        "versions": versions,
        "max_length": max_length,
        "precision": options.precision,
        "device": device.type,
    }

    keys = PrefixKeys(classifier, plan, circumstances)

    def key(cut: int) -> PrefixKey | None:
        return keys.at(cut) if disk_bytes else None

    room = Room(
        memory_bytes=free_memory_bytes(device) // 2
        if options.cache_memory is None
        else size_bytes(options.cache_memory),
        disk=DiskCache(activations_folder(), disk_bytes) if disk_bytes else None,
    )
    return Shortcuts(plan, experiment.pooling, room, key)
