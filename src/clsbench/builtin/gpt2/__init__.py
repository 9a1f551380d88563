"""The backbone ``gpt2``: GPT-2 in its four sizes, pretrained, random or from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

import clsbench
from clsbench import Asset, Files, HubFile, ParameterInfo, Tokenizer, WebFile
from clsbench.builtin.gpt2.shape import SHAPES, GPT2Shape

if TYPE_CHECKING:
    from torch import nn

_TOKENIZER_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"

MERGES = Asset(
    key="gpt2-tokenizer/vocab.bpe",
    sources=(WebFile(_TOKENIZER_URL + "vocab.bpe"),),
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
)
TOKEN_IDS = Asset(
    key="gpt2-tokenizer/encoder.json",
    sources=(WebFile(_TOKENIZER_URL + "encoder.json"),),
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
)


def _weights(
    name: str, revision: str, sha256: str | None = None, size_bytes: int | None = None
) -> Asset:
    source = HubFile(f"openai-community/{name}", "model.safetensors", revision)
    return Asset(
        key=f"{name}/model.safetensors", sources=(source,), sha256=sha256, size_bytes=size_bytes
    )


WEIGHTS = {
    "small": _weights(
        "gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        548_105_171,
    ),
    "medium": _weights("gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "large": _weights(
        "gpt2-large",
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
    ),
    "xl": _weights(
        "gpt2-xl",
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
}
"""The published weights by size, at pinned revisions."""


class GPT2(clsbench.Backbone, frozen=True):
    """GPT-2 (Radford et al. 2019): pretrained, with random weights, or from your checkpoint."""

    size: Annotated[
        Literal["small", "medium", "large", "xl"],
        Meta(
            description="124M, 355M, 774M or 1558M parameters; with weights=PATH the checkpoint"
            " decides"
        ),
    ] = "small"
    weights: Annotated[
        str,
        Meta(
            description="pretrained, random, or a path: a checkpoint directory as transformers"
            " saves it, or a safetensors file of one of the four sizes"
        ),
    ] = "pretrained"
    causal: Annotated[
        bool, Meta(description="each position sees itself and what stands before it only")
    ] = True

    def assets(self) -> tuple[Asset, ...]:
        """The tokenizer's two files, and the published weights where they are wanted."""
        weights = (WEIGHTS[self.size],) if self.weights == "pretrained" else ()
        return (MERGES, TOKEN_IDS, *weights)

    def tokenizer_assets(self) -> tuple[Asset, ...]:
        """The tokenizer's two files."""
        return (MERGES, TOKEN_IDS)

    def stand_in(self) -> clsbench.Backbone | None:
        """``gpt2-nano`` with the same choices; none for a checkpoint that the user named."""
        if self._checkpoint is not None:
            return None
        from clsbench.builtin.gpt2_nano import GPT2Nano

        return GPT2Nano(weights=self.weights, causal=self.causal)

    def tokenizer(self, files: Files) -> Tokenizer:
        """GPT-2's byte-level BPE of 50,257 tokens.

        Raises:
            UsageError: the user's checkpoint holds fewer tokens than that.
        """
        from clsbench.builtin.gpt2.tokenizer import load_tokenizer

        return load_tokenizer(files[MERGES.key], files[TOKEN_IDS.key])

    def context_length(self) -> int:
        """1024 tokens, or what the user's checkpoint says."""
        return self._shape().context_length

    def hidden_size(self) -> int:
        """The width of the size, or what the user's checkpoint says."""
        return self._shape().width

    def describe(self) -> tuple[ParameterInfo, ...]:
        """Its parameters in the module's order; nothing is allocated."""
        from clsbench.builtin.gpt2.module import stage_of

        return clsbench.describe_parameters(self.skeleton(), stage_of)

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        import torch

        from clsbench.builtin.gpt2.module import GPT2Module

        with torch.device("meta"):
            return GPT2Module(self._shape(), self.causal)

    def build(self, files: Files) -> nn.Module:
        """Build the module on the CPU in float32.

        Raises:
            UsageError: the user's checkpoint does not fit.
        """
        from clsbench.builtin.gpt2.module import GPT2Module

        if self.weights == "random":
            return GPT2Module(self._shape(), self.causal)
        raise NotImplementedError

    @property
    def _checkpoint(self) -> Path | None:
        if self.weights in ("pretrained", "random"):
            return None
        return Path(self.weights).expanduser()

    def _shape(self) -> GPT2Shape:
        return SHAPES[self.size]


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``gpt2``."""
    return {"gpt2": GPT2}
