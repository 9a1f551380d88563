"""Count the parameters of a classifier, and estimate the memory that training it takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench.components.axes import Adapter
from clsbench.components.values import ParameterInfo
from clsbench.model.adapting import apply_adapter
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import BACKBONE_PREFIX, FreezingPlan
from clsbench.model.meta_results import MetaResults
from clsbench.model.parameters import without_weights
from clsbench.schema.record import NEW_STAGES, ParameterCounts, StageParameters

_BYTES = {"fp32": 4, "bf16": 4, "fp64": 8}


class ClassifierOutline(NamedTuple):
    """A classifier on the meta device (shapes, no data), and the stage of every parameter."""

    classifier: Classifier
    stage_of: dict[str, str]


def outline_classifier(
    backbone: nn.Module,
    pooling: nn.Module,
    head: nn.Module,
    adapter: Adapter | None,
    parameters: tuple[ParameterInfo, ...],
) -> ClassifierOutline:
    """Assemble modules on the meta device; parameters that the adapter adds form a stage.

    Raises:
        PluginError: the adapter renames parameters of the backbone.
    """
    classifier = Classifier(backbone, pooling, head)
    stage_of = {BACKBONE_PREFIX + p.name: p.stage for p in parameters}
    for name, _ in classifier.named_parameters():
        stage_of.setdefault(name, "head" if name.startswith("out_head.") else "pooling")
    if adapter is not None:
        with without_weights():
            apply_adapter(adapter, classifier)
        for name, _ in classifier.named_parameters():
            stage_of.setdefault(name, "adapter")
    return ClassifierOutline(classifier, stage_of)


def count_parameters(outline: ClassifierOutline, plan: FreezingPlan) -> ParameterCounts:
    """Counts per stage, in the order of the classifier; ``trainable`` in any epoch."""
    sizes = {name: p.numel() for name, p in outline.classifier.named_parameters()}
    ever = plan.ever()
    stages = []
    order = dict.fromkeys(outline.stage_of[name] for name in sizes if _is_backbone(outline, name))
    for stage in [*order, *(new for new in NEW_STAGES if new in outline.stage_of.values())]:
        names = [name for name in sizes if outline.stage_of[name] == stage]
        stages.append(
            StageParameters(
                stage=stage,
                total=sum(sizes[name] for name in names),
                trainable=sum(sizes[name] for name in names if plan.trains(name, ever)),
            )
        )
    return ParameterCounts(
        total=sum(sizes.values()),
        trainable=sum(stage.trainable for stage in stages),
        stages=tuple(stages),
        trainable_by_epoch=tuple(
            sum(size for name, size in sizes.items() if plan.trains(name, names))
            for names in plan.by_epoch
        ),
    )


def _is_backbone(outline: ClassifierOutline, name: str) -> bool:
    return outline.stage_of[name] not in NEW_STAGES


def expected_memory_bytes(
    outline: ClassifierOutline,
    plan: FreezingPlan,
    batch_size: int,
    length: int,
    precision: str,
    state_size: float,
) -> int:
    """Estimate the bytes of weights, gradients, the optimizer's state and one batch's saved
    activations.

    ``state_size`` is the number of numbers that the optimizer keeps for each trained parameter.
    The activations that autograd saves are measured in a forward pass on the meta device, so the
    estimate holds for any component. The memory of the process itself is not included.
    """
    classifier = outline.classifier
    plan.apply(classifier, plan.ever())
    size = _BYTES[precision]
    total = sum(p.numel() for p in classifier.parameters())
    trainable = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    saved = _saved_bytes(classifier, batch_size, length)
    return (total + round((1 + state_size) * trainable)) * size + saved * size // 4


def _saved_bytes(classifier: nn.Module, batch_size: int, length: int) -> int:
    """The storage that autograd saves for the backward pass of one batch, in float32."""
    own = {p.untyped_storage()._cdata for p in classifier.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept.setdefault(storage._cdata, tensor)
        return tensor

    with MetaResults(), torch.device("meta"):
        input_ids = torch.zeros(batch_size, length, dtype=torch.int64)
        lengths = torch.full((batch_size,), length, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = classifier(input_ids, lengths)
            # The loss keeps the graph, and so the counted storages, alive.
            loss = F.cross_entropy(logits, torch.zeros(batch_size, dtype=torch.int64))
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del loss
    return found
