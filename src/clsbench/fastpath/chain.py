"""A classifier as a chain of stages: those of its backbone, then its pooling; the head follows."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from clsbench.components.axes import BackboneModule, PackingBackboneModule
from clsbench.model.classifier import Classifier
from clsbench.model.packing import Packing, select_positions

POOLING = "pooling"
"""The name of the last stage of a chain, the pooling."""


class Inputs(NamedTuple):
    """The inputs of a batch.

    ``input_ids`` (B, T) int64, or (N,) for packed texts, described by ``packing``; ``lengths`` (B,)
    int64; ``positions`` (B,) int64: the position that the pooling reads in each text, or ``None``
    if it reads several.
    """

    input_ids: Tensor
    lengths: Tensor
    positions: Tensor | None
    packing: Packing | None


class Chain:
    """The stages of a classifier by index.

    Stages pass (T, H) per text, packed or padded. From stage :attr:`single` on, they pass only the
    pooled position (1, H). The last stage, the pooling, returns the vector (H,).
    """

    def __init__(self, classifier: Classifier, single: int | None) -> None:
        self._backbone = cast(BackboneModule, classifier.backbone)
        self._pooling = classifier.pooling
        self._stages = tuple(self._backbone.stages())
        self.single = single

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages in order; the last is :data:`POOLING`."""
        return (*(stage.name for stage in self._stages), POOLING)

    def __len__(self) -> int:
        """The number of stages, including the pooling."""
        return len(self._stages) + 1

    def context(self, inputs: Inputs) -> Any:
        """The context that the backbone prepares for its stages."""
        if inputs.packing is None:
            return self._backbone.prepare(inputs.input_ids, inputs.lengths)
        assert isinstance(self._backbone, PackingBackboneModule)
        return self._backbone.prepare_packed(inputs.input_ids, inputs.packing)

    def run(self, index: int, hidden: Tensor | None, context: Any, inputs: Inputs) -> Tensor:
        """Run stage ``index``: the hidden states before it → those after it."""
        if index == len(self._stages):
            assert hidden is not None
            return self._pool(hidden, inputs)
        stage = self._stages[index]
        if index != self.single:
            return stage.run(hidden, context)
        assert inputs.positions is not None
        if stage.at_positions is not None and hidden is not None:
            return stage.at_positions(hidden, context, inputs.positions)
        return select_positions(stage.run(hidden, context), inputs.positions, inputs.packing)

    def _pool(self, hidden: Tensor, inputs: Inputs) -> Tensor:
        if self.single is not None:
            pooled: Tensor = self._pooling(hidden, torch.ones_like(inputs.lengths))
        elif inputs.packing is not None:
            pooled = self._pooling(inputs.packing.pad(hidden), inputs.lengths)
        else:
            pooled = self._pooling(hidden, inputs.lengths)
        return pooled
