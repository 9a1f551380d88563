"""GPT-2 as a torch module of ordered stages; attribute names follow the book."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench import Stage
from clsbench.builtin.gpt2.shape import GPT2Shape as GPT2Shape


@dataclass(frozen=True)
class GPT2Context:
    """What every stage may read beside the hidden states.

    ``input_ids`` (B, T) int64; ``lengths`` (B,) int64, the real tokens of each text.
    """

    input_ids: Tensor
    lengths: Tensor


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, with the book's parameter names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        return F.layer_norm(hidden, self.scale.shape, self.scale, self.shift, eps=1e-5)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of a text over itself, causal or not. (B, T, H) → (B, T, H)."""

    def __init__(self, width: int, attention_heads: int, causal: bool) -> None:
        super().__init__()
        self.attention_heads = attention_heads
        self.causal = causal
        # Three projections, drawn in this order, so that a seed gives the book's weights.
        self.W_query = nn.Linear(width, width)
        self.W_key = nn.Linear(width, width)
        self.W_value = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.attention_heads, -1)).transpose(1, 2)
            for projection in (self.W_query, self.W_key, self.W_value)
        )  # each (B, attention_heads, T, H / attention_heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(-2))
        return out


class FeedForward(nn.Module):
    """The position-wise network of a block, with GPT-2's tanh form of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        out: Tensor = self.layers(hidden)
        return out


class TransformerBlock(nn.Module):
    """A pre-norm transformer block. (B, T, H) → (B, T, H)."""

    def __init__(self, shape: GPT2Shape, causal: bool) -> None:
        super().__init__()
        self.att = MultiHeadAttention(shape.width, shape.attention_heads, causal)
        self.ff = FeedForward(shape.width)
        self.norm1 = LayerNorm(shape.width)
        self.norm2 = LayerNorm(shape.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        hidden = hidden + self.att(self.norm1(hidden))
        out: Tensor = hidden + self.ff(self.norm2(hidden))
        return out


class GPT2Module(nn.Module):
    """GPT-2 without its language-model head, as the stages embeddings, block.0 …, final_norm.

    Drawn from PyTorch's global generator in the book's order (its defaults for Embedding and
    Linear), so that a seed gives the book's weights bit for bit.

    Source: Radford et al. 2019; *Build a Large Language Model (From Scratch)*, chapters 3 and 4.
    """

    def __init__(self, shape: GPT2Shape, causal: bool = True) -> None:
        super().__init__()
        self.hidden_size = shape.width
        self.context_length = shape.context_length
        self.causal = causal
        self.tok_emb = nn.Embedding(shape.vocabulary_size, shape.width)
        self.pos_emb = nn.Embedding(shape.context_length, shape.width)
        self.trf_blocks = nn.Sequential(
            *(TransformerBlock(shape, causal) for _ in range(shape.blocks))
        )
        self.final_norm = LayerNorm(shape.width)

    @property
    def attends_to_padding(self) -> bool:
        """Padding stands behind the text: only without a causal mask do real tokens see it."""
        return not self.causal

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> GPT2Context:
        """Gather what the stages need. ``input_ids`` (B, T) int64, ``lengths`` (B,) int64."""
        return GPT2Context(input_ids, lengths)

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order, each (hidden (B, T, H), context) → hidden (B, T, H)."""
        blocks = (_stage(f"block.{i}", block) for i, block in enumerate(self.trf_blocks))
        return (
            Stage("embeddings", self._first),
            *blocks,
            _stage("final_norm", self.final_norm),
        )

    def _first(self, _: Tensor | None, context: GPT2Context) -> Tensor:
        return self.embed(context)

    def embed(self, context: GPT2Context) -> Tensor:
        """Token and position embeddings, added: (B, T, H)."""
        positions = torch.arange(context.input_ids.shape[1], device=context.input_ids.device)
        out: Tensor = self.tok_emb(context.input_ids) + self.pos_emb(positions)
        return out


def _stage(name: str, module: nn.Module) -> Stage:
    def run(hidden: Tensor | None, _: GPT2Context) -> Tensor:
        out: Tensor = module(hidden)
        return out

    return Stage(name, run)


def stage_of(parameter_name: str) -> str:
    """The stage that a parameter of :class:`GPT2Module` belongs to."""
    first, _, rest = parameter_name.partition(".")
    if first == "trf_blocks":
        return f"block.{rest.partition('.')[0]}"
    return "final_norm" if first == "final_norm" else "embeddings"


def hidden_states(module: GPT2Module, input_ids: Tensor) -> Tensor:
    """What all stages make of texts without padding: ids (B, T) int64 → (B, T, H)."""
    lengths = torch.full((len(input_ids),), input_ids.shape[1], device=input_ids.device)
    context = module.prepare(input_ids, lengths)
    hidden = module.embed(context)
    for stage in module.stages()[1:]:
        hidden = stage.run(hidden, context)
    return hidden


def language_model_logits(module: GPT2Module, input_ids: Tensor) -> Tensor:
    """Next-token logits (B, T, V), the output layer tied to the token embedding as in GPT-2."""
    return F.linear(hidden_states(module, input_ids), module.tok_emb.weight)
