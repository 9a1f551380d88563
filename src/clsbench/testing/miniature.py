"""A transformer small enough to try components on, with every role of parameter a backbone has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from clsbench.components.axes import Backbone
from clsbench.components.values import Files, ParameterInfo, Stage
from clsbench.model.classifier import Classifier
from clsbench.model.parameters import describe_parameters, without_weights

NUM_CLASSES = 3
VOCABULARY_SIZE = 64
PAD_TOKEN_ID = 0
WIDTH = 8


class MiniatureBackbone(Backbone, frozen=True):
    """A transformer of a few thousand random parameters, for tests of other components."""

    blocks: Annotated[int, Meta(ge=0, le=64)] = 3
    causal: bool = True

    def tokenizer(self, files: Files) -> MiniatureTokenizer:
        """One token per byte."""
        return MiniatureTokenizer()

    def context_length(self) -> int:
        """32 tokens."""
        return 32

    def hidden_size(self) -> int:
        """8 features."""
        return WIDTH

    def describe(self) -> tuple[ParameterInfo, ...]:
        """Its parameters, without weights."""
        return describe_parameters(self.skeleton(), _stage_of)

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        with without_weights():
            return MiniatureTransformer(self.blocks, self.causal, self.context_length())

    def build(self, files: Files) -> nn.Module:
        """The module, drawn from PyTorch's global generator."""
        return MiniatureTransformer(self.blocks, self.causal, self.context_length())


class MiniatureTokenizer:
    """One token per byte of the text, folded into a small vocabulary."""

    pad_token_id = PAD_TOKEN_ID

    def encode(self, text: str) -> list[int]:
        """A token id from 1 on for every byte."""
        return [1 + byte % (VOCABULARY_SIZE - 1) for byte in text.encode("utf-8")]


@dataclass(frozen=True)
class _Context:
    """``input_ids`` (B, T) int64."""

    input_ids: Tensor


class _Block(nn.Module):
    def __init__(self, causal: bool) -> None:
        """Draw the weights."""
        super().__init__()
        self.causal = causal
        self.norm = nn.LayerNorm(WIDTH)
        self.projections = nn.Linear(WIDTH, 3 * WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = self.projections(self.norm(hidden)).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = hidden + self.out_proj(F.gelu(mixed))
        return out


class MiniatureTransformer(nn.Module):
    """Stages embeddings, block.0 …, final_norm. Without a causal mask, padding is attended to."""

    def __init__(self, blocks: int, causal: bool, context_length: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.hidden_size = WIDTH
        self.context_length = context_length
        self.attends_to_padding = not causal
        self.token_embedding = nn.Embedding(VOCABULARY_SIZE, WIDTH)
        self.position_embedding = nn.Embedding(context_length, WIDTH)
        self.blocks = nn.ModuleList(_Block(causal) for _ in range(blocks))
        self.final_norm = nn.LayerNorm(WIDTH)

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> _Context:
        """Keep the token ids."""
        return _Context(input_ids)

    def stages(self) -> Sequence[Stage]:
        """The stages in order, each (B, T, H) → (B, T, H)."""
        return (
            Stage("embeddings", self._embed),
            *(_stage(f"block.{i}", block) for i, block in enumerate(self.blocks)),
            _stage("final_norm", self.final_norm),
        )

    def _embed(self, _: Tensor | None, context: _Context) -> Tensor:
        positions = torch.arange(context.input_ids.shape[1], device=context.input_ids.device)
        out: Tensor = self.token_embedding(context.input_ids) + self.position_embedding(positions)
        return out


def _stage(name: str, module: nn.Module) -> Stage:
    def run(hidden: Tensor | None, _: _Context) -> Tensor:
        out: Tensor = module(hidden)
        return out

    return Stage(name, run)


def _stage_of(parameter_name: str) -> str:
    first, _, rest = parameter_name.partition(".")
    if first == "blocks":
        return f"block.{rest.partition('.')[0]}"
    return "final_norm" if first == "final_norm" else "embeddings"


class MeanPooling(nn.Module):
    """A plain mean over all positions. (B, T, H) → (B, H)."""

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Average."""
        return hidden.mean(dim=1)


def miniature_classifier(blocks: int = 3) -> Classifier:
    """A whole classifier on the miniature backbone, drawn from PyTorch's global generator."""
    backbone = MiniatureBackbone(blocks=blocks).build({})
    return Classifier(backbone, MeanPooling(), nn.Linear(WIDTH, NUM_CLASSES))


def miniature_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Token ids (B, T), lengths (B,) and labels (B,), all int64; every vocabulary entry occurs."""
    input_ids = torch.arange(VOCABULARY_SIZE).reshape(4, 16)
    return input_ids, torch.tensor([16, 7, 1, 12]), torch.tensor([0, 1, 2, 1])
