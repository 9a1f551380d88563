"""A plugin with ``gpt2-tiny``, which runs the same code as GPT-2 in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

import clsbench
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.shape import GPT2Shape


class GPT2Tiny(GPT2, frozen=True):
    """GPT-2 with three blocks of 48 features; its weights are random."""

    weights: str = "random"

    def _shape(self) -> GPT2Shape:
        return GPT2Shape(width=48, blocks=3, attention_heads=4, context_length=128)


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``gpt2-tiny``."""
    return {"gpt2-tiny": GPT2Tiny}
