"""The shape of a GPT-2, and the shapes of its four published sizes. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GPT2Shape:
    """The shape of a GPT-2: sizes in tokens, features, blocks and heads."""

    width: int
    blocks: int
    attention_heads: int
    context_length: int = 1024
    vocabulary_size: int = 50257


SHAPES = {
    "small": GPT2Shape(768, 12, 12),
    "medium": GPT2Shape(1024, 24, 16),
    "large": GPT2Shape(1280, 36, 20),
    "xl": GPT2Shape(1600, 48, 25),
}
"""The published sizes. Source: Radford et al. 2019, table 2."""
