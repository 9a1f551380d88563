"""Heads that classifiers of transformers have, and the exporter ``transformers``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import nn


class Score(clsbench.Head, frozen=True):
    """One linear layer without bias, as in the decoders of transformers."""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layer (B, H) → (B, C)."""
        from torch import nn

        return nn.Linear(hidden_size, num_classes, bias=False)


class Dense(clsbench.Head, frozen=True):
    """Two linear layers with an activation between them, as in the encoders of transformers.

    BERT, RoBERTa, CamemBERT and XLM-RoBERTa have tanh, DistilBERT relu, DeBERTa gelu.
    """

    activation: Annotated[
        Literal["tanh", "relu", "gelu"], Meta(description="function between the layers")
    ] = "tanh"

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layers (B, H) → (B, H) → (B, C)."""
        from torch import nn

        kinds = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
        return nn.Sequential(
            nn.Linear(hidden_size, hidden_size),
            kinds[self.activation](),
            nn.Linear(hidden_size, num_classes),
        )


class DenseNorm(clsbench.Head, frozen=True):
    """A linear layer, gelu, a layer norm and a linear layer, as in ModernBERT's classifier.

    The first linear layer and the norm have no bias.
    """

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """The layers (B, H) → (B, H) → (B, C)."""
        from torch import nn

        return nn.Sequential(
            nn.Linear(hidden_size, hidden_size, bias=False),
            nn.GELU(),
            nn.LayerNorm(hidden_size, bias=False),
            nn.Linear(hidden_size, num_classes),
        )


class Transformers(clsbench.Exporter, frozen=True):
    """A folder that AutoModelForSequenceClassification.from_pretrained and pipeline() load."""

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")
    tasks = ("single-label", "multi-label")

    def export(self, run: clsbench.TrainedRun, directory: Path) -> None:
        """Write config, weights, tokenizer and model card.

        Raises:
            UsageError: transformers has no classifier with this backbone, pooling or head.
        """
        from clsbench_transformers.exporting import export

        export(run, directory)


@clsbench.hookimpl
def clsbench_register_heads() -> Mapping[str, type[clsbench.Head]]:
    """Register ``score``, ``dense`` and ``dense-norm``."""
    return {"score": Score, "dense": Dense, "dense-norm": DenseNorm}


@clsbench.hookimpl
def clsbench_register_exporters() -> Mapping[str, type[clsbench.Exporter]]:
    """Register ``transformers``."""
    return {"transformers": Transformers}
