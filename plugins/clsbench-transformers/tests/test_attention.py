"""Attention, compared with a loop over queries."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from clsbench_transformers.attention import Kind, Scope, all_at_once, attend, text_by_text
from torch import Tensor

from clsbench import Packing

LENGTHS = (9, 3, 1, 7)
KINDS = [
    Kind(causal, window, 0.3, softcap, dropout=0.0)
    for causal, window, softcap in itertools.product((True, False), (None, 3), (None, 2.0))
]


def heads(generator: torch.Generator, count: int, positions: int = sum(LENGTHS)) -> Tensor:
    return torch.randn(1, count, positions, 5, generator=generator, dtype=torch.float64)


def one_by_one(query: Tensor, key: Tensor, value: Tensor, kind: Kind) -> Tensor:
    """The attention of one text (heads, T, d), query by query."""
    groups = len(query) // len(key)
    out = torch.zeros_like(query)
    for head, place in itertools.product(range(len(query)), range(query.shape[1])):
        seen = [
            other
            for other in range(query.shape[1])
            if (not kind.causal or other <= place)
            and (kind.window is None or abs(other - place) < kind.window)
        ]
        scores = key[head // groups, seen] @ query[head, place] * kind.scale
        if kind.softcap is not None:
            scores = kind.softcap * (scores / kind.softcap).tanh()
        out[head, place] = scores.softmax(0) @ value[head // groups, seen]
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_attention_of_packed_texts_equals_a_loop_over_queries(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (heads(generator, count) for count in (4, 2, 2))
    packing = Packing.of(LENGTHS)
    expected = torch.cat(
        [
            one_by_one(q[0], k[0], v[0], kind)
            for q, k, v in zip(
                *(each.split_with_sizes(LENGTHS, 2) for each in (query, key, value)), strict=True
            )
        ],
        1,
    )[None]
    torch.testing.assert_close(text_by_text(query, key, value, packing, kind), expected)
    lengths = torch.tensor(LENGTHS)
    torch.testing.assert_close(all_at_once(query, key, value, packing, lengths, kind), expected)


def test_attend_padding_of_a_windowed_encoder_is_a_number() -> None:
    """A window far behind the text holds nothing to attend to."""
    generator = torch.Generator().manual_seed(3)
    inputs = [heads(generator, 2, 30) for _ in range(3)]
    module: Any = SimpleNamespace(is_causal=False)
    scope = Scope(torch.tensor([4]))
    found, _ = attend(module, *inputs, None, scope=scope, sliding_window=3)
    assert found.isfinite().all()
    expected = one_by_one(*(each[0, :, :4] for each in inputs), Kind(False, 3, 5**-0.5, None, 0.0))
    torch.testing.assert_close(found[0, :4].transpose(0, 1), expected)
