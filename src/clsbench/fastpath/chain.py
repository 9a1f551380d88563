"""A classifier as one chain of stages: those of its backbone, then its pooling, then its head."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from clsbench.components.axes import BackboneModule, PackingBackboneModule
from clsbench.model.classifier import Classifier
from clsbench.model.packing import Packing, select_positions

POOLING = "pooling"
"""The name of the pooling as a stage of the chain, its last."""


class Inputs(NamedTuple):
    """A batch on its way through the chain.

    ``input_ids`` (B, T) int64, or (N,) if ``packing`` says how the texts lie; ``lengths`` (B,)
    int64; ``positions`` (B,) int64, the one that the pooling reads of each text, if it is one.
    """

    input_ids: Tensor
    lengths: Tensor
    positions: Tensor | None
    packing: Packing | None


class Chain:
    """The stages of a classifier by index; the one at :attr:`single` may give one position only.

    Between stages travels, per text, (T, H), packed or padded; behind stage ``single`` one position
    (1, H); behind the last, the pooling, the vector (H,).
    """

    def __init__(self, classifier: Classifier, single: int | None) -> None:
        self._backbone = cast(BackboneModule, classifier.backbone)
        self._pooling = classifier.pooling
        self._stages = tuple(self._backbone.stages())
        self.single = single

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names in order, :data:`POOLING` last."""
        return (*(stage.name for stage in self._stages), POOLING)

    def __len__(self) -> int:
        """The number of stages, the pooling among them."""
        return len(self._stages) + 1

    def context(self, inputs: Inputs) -> Any:
        """What the backbone prepares for its stages."""
        if inputs.packing is None:
            return self._backbone.prepare(inputs.input_ids, inputs.lengths)
        assert isinstance(self._backbone, PackingBackboneModule)
        return self._backbone.prepare_packed(inputs.input_ids, inputs.packing)

    def run(self, index: int, hidden: Tensor | None, context: Any, inputs: Inputs) -> Tensor:
        """One stage: what travels before stage ``index`` → what travels behind it."""
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
