"""The shape of gpt2-nano: as large as a million parameters allow."""

from __future__ import annotations

from clsbench.builtin.backbones.gpt2.shape import GPT2Shape

SHAPE = GPT2Shape(width=128, blocks=4, attention_heads=4, context_length=128, vocabulary_size=1400)
