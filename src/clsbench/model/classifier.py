"""The classifier: backbone → pooling → head."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from clsbench.components.axes import BackboneModule


class Classifier(nn.Module):
    """Maps token ids to class logits. The name ``out_head`` is that of the book."""

    def __init__(self, backbone: nn.Module, pooling: nn.Module, out_head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.out_head = out_head

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """``input_ids`` (B, T) int64, ``lengths`` (B,) int64 → logits (B, C)."""
        logits: Tensor = self.out_head(self.features(input_ids, lengths))
        return logits

    def features(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """``input_ids`` (B, T) int64, ``lengths`` (B,) int64 → pooled features (B, H)."""
        backbone = cast(BackboneModule, self.backbone)
        context = backbone.prepare(input_ids, lengths)
        hidden: Tensor | None = None
        for stage in backbone.stages():
            hidden = stage.run(hidden, context)
        features: Tensor = self.pooling(hidden, lengths)
        return features
