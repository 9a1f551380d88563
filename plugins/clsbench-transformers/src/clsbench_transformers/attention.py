"""The attention of all families, registered with transformers as the implementation ``clsbench``.

A block of transformers computes queries, keys and values by its own modules and passes them to the
attention function that its config names, with all keyword arguments that the block was called with.
This is how :class:`Scope` reaches :func:`attend`, through the block's own, unchanged code.

Masks are boolean: torch 2.13 silently computes wrong results on the CPU for float64 queries with a
float32 additive mask.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench import Packing

IMPLEMENTATION = "clsbench"
"""The name in the registry of transformers."""


class Scope(NamedTuple):
    """What the queries of a block attend to.

    ``lengths`` (B,) int64: the real tokens of each text, which alone are attended to, except by
    causal attention, which sees no padding behind a text. ``packing`` describes packed texts, whose
    tensors are (1, N, …) in a block. ``interrupts``: raise :class:`KeysAndValues` instead of
    attending. ``others``: keys and values of all positions, if the queries are those of one
    position of each text, ``positions`` (B,).
    """

    lengths: Tensor
    packing: Packing | None = None
    interrupts: bool = False
    others: KeysAndValues | None = None
    positions: Tensor | None = None


class KeysAndValues(Exception):  # noqa: N818
    """Ends the forward pass of a block once its keys and values are known.

    They are (B, heads, T, d), or (1, heads, N, d) if the texts are packed.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys = keys
        self.values = values

    def __reduce__(self) -> NoReturn:
        raise TypeError("tensors with gradients stay in their process")


class Kind(NamedTuple):
    """The attention of one module: what it sees, and how scores become weights."""

    causal: bool
    window: int | None
    scale: float
    softcap: float | None
    dropout: float


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scope: Scope,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention: query (B, heads, T, d) → (B, T, heads, d).

    ``key`` and ``value`` may have fewer heads (grouped queries). ``attention_mask`` is not used.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary ones are fp32
    if scope.interrupts:
        raise KeysAndValues(key, value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = Kind(bool(module.is_causal), sliding_window, scale, softcap, dropout)
    if scope.others is not None:
        mixed = _at_positions(query, scope, kind)
    elif scope.packing is None:
        mixed = self_attention(query, key, value, scope.lengths, kind)
    elif query.device.type == "cpu":
        mixed = text_by_text(query, key, value, scope.packing, kind)
    else:
        mixed = all_at_once(query, key, value, scope.packing, scope.lengths, kind)
    return mixed.transpose(1, 2), None


def self_attention(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor | None, kind: Kind
) -> Tensor:
    """The attention of padded texts, or, if ``lengths`` is ``None``, of texts without padding."""
    count = key.shape[2]
    windowed = kind.window is not None and count > kind.window
    if not windowed and (kind.causal or lengths is None):
        return _mix(query, key, value, None, kind)
    places = torch.arange(count, device=key.device)[None]
    return _mix(query, key, value, _visible(places, count, lengths, kind), kind)


def text_by_text(query: Tensor, key: Tensor, value: Tensor, packing: Packing, kind: Kind) -> Tensor:
    """The attention of packed texts, one after another: (1, heads, N, d) → (1, heads, N, d).

    On the CPU, small products are fast to start, and none of them includes padding.
    """
    parts = (each.split_with_sizes(packing.lengths, 2) for each in (query, key, value))
    texts = [self_attention(q, k, v, None, kind) for q, k, v in zip(*parts, strict=True)]
    return torch.cat(texts, 2)


def all_at_once(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, lengths: Tensor, kind: Kind
) -> Tensor:
    """The attention of packed texts, padded in between: (1, heads, N, d) → (1, heads, N, d)."""
    query, key, value = (_pad(each, packing) for each in (query, key, value))
    mixed = self_attention(query, key, value, lengths, kind)
    return packing.pack(mixed.transpose(1, 2)).transpose(0, 1)[None]


def _pad(packed: Tensor, packing: Packing) -> Tensor:
    """(1, heads, N, d) → (B, heads, widest, d)."""
    return packing.pad(packed[0].transpose(0, 1)).transpose(1, 2)


def _at_positions(query: Tensor, scope: Scope, kind: Kind) -> Tensor:
    """The attention of one query per text: (B, heads, 1, d) → (B, heads, 1, d)."""
    assert scope.others is not None
    assert scope.positions is not None
    key, value = scope.others.keys, scope.others.values
    if scope.packing is not None:
        key, value = _pad(key, scope.packing), _pad(value, scope.packing)
    visible = _visible(scope.positions.unsqueeze(-1), key.shape[2], scope.lengths, kind)
    return _mix(query, key, value, visible, kind)


def _visible(queries: Tensor, keys: int, lengths: Tensor | None, kind: Kind) -> Tensor:
    """Which keys each query attends to: bool (B, 1, T, ``keys``), or broadcastable to it.

    ``queries`` (B, T) or (1, T) are the positions of the queries.
    """
    places = torch.arange(keys, device=queries.device)
    distance = queries[:, None, :, None] - places
    if kind.causal:
        visible = distance >= 0
    elif lengths is None:
        visible = torch.ones_like(distance, dtype=torch.bool)
    else:
        visible = places < lengths.view(-1, 1, 1, 1)
    if kind.window is not None and keys > kind.window:
        # Padding always sees itself, since attention to nothing is not a number.
        visible = visible & (distance.abs() < kind.window) | (distance == 0)
    return visible


def _mix(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, kind: Kind) -> Tensor:
    """The values, weighted: (B, heads, T, d). Without ``visible``, all keys or the causal ones."""
    causal = kind.causal and visible is None
    if kind.softcap is None:
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=visible,
            dropout_p=kind.dropout,
            is_causal=causal,
            scale=kind.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    scores = kind.softcap * (query @ key.transpose(2, 3) * kind.scale / kind.softcap).tanh()
    if causal:
        places = torch.arange(key.shape[2], device=key.device)[None]
        visible = _visible(places, key.shape[2], None, kind)
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    weights = F.dropout(scores.softmax(-1).to(value.dtype), kind.dropout)
    return weights @ value
