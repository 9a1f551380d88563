"""Build a classifier with its weights from the components of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from clsbench.components.resolve import Experiment
from clsbench.model.adapting import apply_adapter
from clsbench.model.classifier import Classifier


def build_classifier(
    experiment: Experiment,
    files: Mapping[str, Path],
    num_classes: int,
    seed: int,
    precision: str,
) -> Classifier:
    """Build backbone, head, pooling and adapter on the CPU, with random weights drawn as in the
    book.

    The generator is seeded before a (random) backbone and again before the head; pooling and
    adapter continue from there. In fp64, float32 weights are drawn and then cast.

    Raises:
        PluginError: the adapter renames parameters of the backbone.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        torch.manual_seed(seed)
        backbone = experiment.backbone.build(files)
        torch.manual_seed(seed)
        head = experiment.head.build(experiment.backbone.hidden_size(), num_classes)
        pooling = experiment.pooling.build(experiment.backbone.hidden_size())
        classifier = Classifier(backbone, pooling, head)
        if experiment.adapter is not None:
            apply_adapter(experiment.adapter, classifier)
    finally:
        torch.set_default_dtype(default)
    return classifier.double() if precision == "fp64" else classifier
