"""GPT-2 as a torch module of ordered stages; attribute names follow the book."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench import Packing, Stage, select_positions
from clsbench.builtin.backbones.gpt2.shape import GPT2Shape as GPT2Shape


@dataclass(frozen=True)
class GPT2Context:
    """The context of the stages.

    ``input_ids`` (B, T) int64, or (N,) for packed texts, described by ``packing``.
    """

    input_ids: Tensor
    packing: Packing | None = None


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, with the book's parameter names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        return F.layer_norm(hidden, self.scale.shape, self.scale, self.shift, eps=1e-5)

    def normalise(self, hidden: Tensor) -> Tensor:
        """Normalize without scale and shift: mean 0 and variance 1 at every position."""
        return F.layer_norm(hidden, self.scale.shape, eps=1e-5)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product self-attention, optionally causal. (B, T, H) → (B, T, H)."""

    def __init__(self, width: int, attention_heads: int, causal: bool) -> None:
        super().__init__()
        self.attention_heads = attention_heads
        self.causal = causal
        # Three projections, drawn in this order, so that a seed gives the book's weights.
        self.W_query = nn.Linear(width, width)
        self.W_key = nn.Linear(width, width)
        self.W_value = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, packing: Packing | None = None) -> Tensor:
        """(B, T, H) → (B, T, H); with ``packing``, (N, H) → (N, H)."""
        projected = [layer(hidden) for layer in (self.W_query, self.W_key, self.W_value)]
        if packing is None:
            mixed = self._mix(*projected)
        elif hidden.device.type == "cpu":
            # Small products are fast to start here, and none of them includes padding.
            texts = zip(*(packing.split(tensor) for tensor in projected), strict=True)
            mixed = torch.cat([self._mix(*text) for text in texts])
        else:
            mixed = packing.pack(self._mix(*(packing.pad(tensor) for tensor in projected)))
        out: Tensor = self.out_proj(mixed)
        return out

    def _mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attention of query, key and value, each (…, T, H) → (…, T, H)."""
        query, key, value = (self._by_head(tensor) for tensor in (query, key, value))
        if query.dim() == 3:  # a single text: the fused kernels need a batch dimension
            mixed = F.scaled_dot_product_attention(
                query[None], key[None], value[None], is_causal=self.causal
            )[0]
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        joined: Tensor = mixed.transpose(-3, -2).flatten(-2)
        return joined

    def _by_head(self, tensor: Tensor) -> Tensor:
        """(…, T, H) → (…, attention_heads, T, d) with d = H / attention_heads."""
        return tensor.view(*tensor.shape[:-1], self.attention_heads, -1).transpose(-3, -2)

    def at_positions(
        self, hidden: Tensor, norm: LayerNorm, positions: Tensor, packing: Packing | None
    ) -> Tensor:
        """``forward(norm(hidden))`` at one position of each text: (B, 1, H)."""
        here = norm(select_positions(hidden, positions, packing))
        query = self._by_head(self.W_query(here))
        visible = None
        if self.causal:
            widest = hidden.shape[1] if packing is None else packing.widest
            places = torch.arange(widest, device=hidden.device)
            visible = (places <= positions.unsqueeze(-1))[:, None, None]  # (B, 1, 1, T)
        if _is_plain(self.W_key, nn.Linear) and _is_plain(self.W_value, nn.Linear):
            padded = hidden if packing is None else packing.pad(hidden)
            mixed = self._mix_absorbed(query, padded, norm, visible)
        else:
            normed = norm(hidden)
            key, value = (layer(normed) for layer in (self.W_key, self.W_value))
            if packing is not None:
                key, value = packing.pad(key), packing.pad(value)
            mixed = F.scaled_dot_product_attention(
                query, self._by_head(key), self._by_head(value), attn_mask=visible
            )
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(-2))
        return out

    def _mix_absorbed(
        self, query: Tensor, hidden: Tensor, norm: LayerNorm, visible: Tensor | None
    ) -> Tensor:
        """Attention of one query to all positions without computing keys and values.

        Keys and values are linear in n, the hidden states with mean 0 and variance 1, so their
        weights can be applied to the single query instead. With x = γ n + β, a score q · (W_k x +
        b_k) is (γ q W_k) · n plus a constant, to which softmax is invariant; a weighted sum of
        values is W_v (γ Σ a n + β) + b_v, since the weights a sum to one. No tensor of the size of
        n then has a gradient, unless ``hidden`` itself has one. The constant term q · b_k is kept,
        so that the key bias remains in the graph and weight decay applies to it.

        ``query`` (B, heads, 1, d), ``hidden`` (B, T, H), ``visible`` (B, 1, 1, T) bool, or ``None``
        for all positions; → (B, heads, 1, d).
        """
        heads, width = self.attention_heads, hidden.shape[-1]
        normalised = norm.normalise(hidden)
        key_weight = self.W_key.weight.view(heads, -1, width)  # (heads, d, H)
        value_weight = self.W_value.weight.view(heads, -1, width)
        query = query.squeeze(2).transpose(0, 1) * query.shape[-1] ** -0.5  # (heads, B, d)
        wanted = torch.bmm(query, key_weight).transpose(0, 1) * norm.scale  # (B, heads, H)
        scores = torch.bmm(wanted.to(normalised.dtype), normalised.transpose(1, 2))  # (B, heads, T)
        if self.W_key.bias is not None:
            key_bias = self.W_key.bias.view(heads, -1, 1)  # (heads, d, 1)
            scores = scores + torch.bmm(query, key_bias).transpose(0, 1)
        if visible is not None:
            scores = scores.masked_fill(~visible.squeeze(1), float("-inf"))
        weights = scores.softmax(dim=-1)
        seen = torch.bmm(weights.to(normalised.dtype), normalised)  # (B, heads, H)
        seen = (seen * norm.scale + norm.shift).transpose(0, 1)
        mixed = torch.bmm(seen, value_weight.transpose(1, 2))  # (heads, B, d)
        if self.W_value.bias is not None:
            mixed = mixed + self.W_value.bias.view(heads, 1, -1)
        return mixed.transpose(0, 1).unsqueeze(2)


def _is_plain(module: object, kind: type[nn.Module]) -> bool:
    """Whether the module is unchanged by adapters and has no hooks."""
    if type(module) is not kind:
        return False
    assert isinstance(module, nn.Module)
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks) and "forward" not in vars(module)


class FeedForward(nn.Module):
    """The MLP of a block, with GPT-2's tanh approximation of GELU."""

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

    def forward(self, hidden: Tensor, packing: Packing | None = None) -> Tensor:
        """(B, T, H) → (B, T, H); with ``packing``, (N, H) → (N, H)."""
        # Passed by name, so that a hook that replaces the hidden states does not affect the
        # packing.
        hidden = hidden + self.att(self.norm1(hidden), packing=packing)
        out: Tensor = hidden + self.ff(self.norm2(hidden))
        return out

    def at_positions(self, hidden: Tensor, positions: Tensor, packing: Packing | None) -> Tensor:
        """:meth:`forward` at one position of each text: (B, 1, H)."""
        attended = self.att.at_positions(hidden, self.norm1, positions, packing)
        here = select_positions(hidden, positions, packing) + attended
        out: Tensor = here + self.ff(self.norm2(here))
        return out


class GPT2Module(nn.Module):
    """GPT-2 without its language-model head, as the stages embeddings, block.0 …, final_norm.

    Weights are drawn from PyTorch's global generator in the book's order (with the defaults of
    Embedding and Linear), so that a seed gives the book's weights bit for bit.

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
        """Padding follows the text, so real tokens attend to it only without a causal mask."""
        return not self.causal

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> GPT2Context:
        """Make the context of the stages. ``input_ids`` (B, T) int64, ``lengths`` (B,) int64."""
        return GPT2Context(input_ids)

    def prepare_packed(self, input_ids: Tensor, packing: Packing) -> GPT2Context:
        """Make the context for packed texts, ``input_ids`` (N,) int64."""
        return GPT2Context(input_ids, packing)

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order, each (hidden (B, T, H), context) → hidden (B, T, H)."""
        return (
            Stage("embeddings", self._first),
            *(_block_stage(f"block.{i}", block) for i, block in enumerate(self.trf_blocks)),
            _positionwise_stage("final_norm", self.final_norm),
        )

    def _first(self, _: Tensor | None, context: GPT2Context) -> Tensor:
        return self.embed(context)

    def embed(self, context: GPT2Context) -> Tensor:
        """The sum of token and position embeddings: (B, T, H), or (N, H)."""
        if context.packing is None:
            positions = torch.arange(context.input_ids.shape[1], device=context.input_ids.device)
        else:
            positions = context.packing.positions
        out: Tensor = self.tok_emb(context.input_ids) + self.pos_emb(positions)
        return out


def _block_stage(name: str, block: nn.Module) -> Stage:
    def run(hidden: Tensor | None, context: GPT2Context) -> Tensor:
        out: Tensor = block(hidden, packing=context.packing)
        return out

    def at_positions(hidden: Tensor, context: GPT2Context, positions: Tensor) -> Tensor:
        assert isinstance(block, TransformerBlock)
        return block.at_positions(hidden, positions, context.packing)

    plain = (
        _is_plain(block, TransformerBlock)
        and _is_plain(block.att, MultiHeadAttention)
        and all(_is_plain(norm, LayerNorm) for norm in (block.norm1, block.norm2))
        and _is_plain(block.ff, FeedForward)
    )
    return Stage(name, run, at_positions=at_positions if plain else None)


def _positionwise_stage(name: str, module: nn.Module) -> Stage:
    def run(hidden: Tensor | None, _: GPT2Context) -> Tensor:
        out: Tensor = module(hidden)
        return out

    return Stage(name, run, positionwise=True)


def stage_of(parameter_name: str) -> str:
    """The stage that a parameter of :class:`GPT2Module` belongs to."""
    first, _, rest = parameter_name.partition(".")
    if first == "trf_blocks":
        return f"block.{rest.partition('.')[0]}"
    return "final_norm" if first == "final_norm" else "embeddings"


def hidden_states(module: GPT2Module, input_ids: Tensor) -> Tensor:
    """Run all stages on texts without padding: ids (B, T) int64 → (B, T, H)."""
    lengths = torch.full((len(input_ids),), input_ids.shape[1], device=input_ids.device)
    context = module.prepare(input_ids, lengths)
    hidden = module.embed(context)
    for stage in module.stages()[1:]:
        hidden = stage.run(hidden, context)
    return hidden


def language_model_logits(module: GPT2Module, input_ids: Tensor) -> Tensor:
    """Next-token logits (B, T, V); the output layer is tied to the token embedding, as in GPT-2."""
    return F.linear(hidden_states(module, input_ids), module.tok_emb.weight)
