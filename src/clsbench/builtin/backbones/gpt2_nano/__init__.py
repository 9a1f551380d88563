"""The backbone ``gpt2-nano``: a small GPT-2 that comes with the package, pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

import clsbench
from clsbench.builtin.backbones.gpt2_nano.shape import SHAPE

if TYPE_CHECKING:
    from torch import nn

_HERE = Path(__file__).parent


class GPT2Nano(clsbench.Backbone, frozen=True):
    """A GPT-2 of a million parameters in 4 blocks, embedded: the stand-in for gpt2.

    Pretrained as a language model on synthetic text messages. The weights are part of the package;
    ``tools/stand_ins`` in the repository makes them.
    """

    weights: Annotated[
        Literal["pretrained", "random"],
        Meta(description="pretrained (embedded in the package) or random"),
    ] = "pretrained"
    causal: Annotated[bool, Meta(description="mask later positions in attention")] = True

    def tokenizer(self, files: clsbench.Files) -> clsbench.Tokenizer:
        """A byte-level BPE of 1,400 tokens."""
        from clsbench.builtin.backbones.gpt2_nano.tokenizer import load_tokenizer

        return load_tokenizer(_HERE)

    def context_length(self) -> int:
        """128 tokens."""
        return SHAPE.context_length

    def hidden_size(self) -> int:
        """128 features."""
        return SHAPE.width

    def describe(self) -> tuple[clsbench.ParameterInfo, ...]:
        """Its parameters in the module's order; nothing is allocated."""
        from clsbench.builtin.backbones.gpt2.module import stage_of

        return clsbench.describe_parameters(self.skeleton(), stage_of)

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        from clsbench.builtin.backbones.gpt2.module import GPT2Module

        with clsbench.without_weights():
            return GPT2Module(SHAPE, self.causal)

    def build(self, files: clsbench.Files) -> nn.Module:
        """Build the module on the CPU in float32."""
        from clsbench.builtin.backbones.gpt2.module import GPT2Module
        from clsbench.builtin.backbones.gpt2_nano.storage import load_weights

        module = GPT2Module(SHAPE, self.causal)
        if self.weights == "pretrained":
            load_weights(module, _HERE)
        return module


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``gpt2-nano``."""
    return {"gpt2-nano": GPT2Nano}
