"""A GPT-2 module that is small enough to train in milliseconds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from torch import nn

import clsbench
from clsbench.builtin.backbones.gpt2.module import GPT2Module, stage_of
from clsbench.builtin.backbones.gpt2.shape import GPT2Shape

VOCABULARY = 32
WIDTH_TOKENS = 9


class TinyGPT2(clsbench.Backbone, frozen=True):
    """Three blocks of 12 features."""

    causal: bool = True
    blocks: Annotated[int, Meta(ge=1)] = 3

    def hidden_size(self) -> int:
        """12 features."""
        return 12

    def describe(self) -> tuple[clsbench.ParameterInfo, ...]:
        """Its parameters."""
        return clsbench.describe_parameters(self.skeleton(), stage_of)

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        with clsbench.without_weights():
            return self.build({})

    def build(self, files: clsbench.Files) -> nn.Module:
        """The module, drawn from torch's global generator."""
        return GPT2Module(GPT2Shape(12, self.blocks, 3, 16, VOCABULARY), self.causal)
