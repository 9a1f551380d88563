"""The backbone ``gpt2``: GPT-2 in its four sizes, pretrained, random or from a checkpoint."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

import clsbench
from clsbench import (
    Asset,
    AssetError,
    Files,
    HubFile,
    NumericalCheck,
    ParameterInfo,
    Tokenizer,
    UsageError,
    WebFile,
)
from clsbench.builtin.backbones.gpt2.shape import SHAPES, GPT2Shape

if TYPE_CHECKING:
    from torch import nn

    from clsbench.builtin.backbones.gpt2.config import CheckpointError
    from clsbench.builtin.backbones.gpt2.module import GPT2Module

_TOKENIZER_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"

MERGES = Asset(
    key="gpt2-tokenizer/vocab.bpe",
    sources=(WebFile(_TOKENIZER_URL + "vocab.bpe"),),
    sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    largest_bytes=10**7,
)
TOKEN_IDS = Asset(
    key="gpt2-tokenizer/encoder.json",
    sources=(WebFile(_TOKENIZER_URL + "encoder.json"),),
    sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    largest_bytes=10**7,
)


def _weights(
    name: str, revision: str, sha256: str | None = None, size_bytes: int | None = None
) -> Asset:
    source = HubFile(f"openai-community/{name}", "model.safetensors", revision)
    return Asset(
        key=f"{name}/model.safetensors",
        sources=(source,),
        sha256=sha256,
        size_bytes=size_bytes,
        largest_bytes=8 * 10**9,
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
            description="124M, 355M, 774M or 1558M parameters; with weights=PATH, set by the"
            " checkpoint"
        ),
    ] = "small"
    weights: Annotated[
        str,
        Meta(
            description="pretrained, random, or a path to a checkpoint directory saved by"
            " transformers, or to a safetensors file of one of the four sizes"
        ),
    ] = "pretrained"
    causal: Annotated[bool, Meta(description="mask later positions in attention")] = True

    def assets(self) -> tuple[Asset, ...]:
        """The two files of the tokenizer, and the published weights if used."""
        weights = (WEIGHTS[self.size],) if self.weights == "pretrained" else ()
        return (*self.tokenizer_assets(), *weights)

    def tokenizer_assets(self) -> tuple[Asset, ...]:
        """The merges and the token ids."""
        return (MERGES, TOKEN_IDS)

    def user_files(self) -> tuple[Path, ...]:
        """The files of the user's checkpoint.

        Raises:
            UsageError: it is not a GPT-2, according to the headers of its files.
        """
        path = self._checkpoint
        if path is None:
            return ()
        from clsbench.builtin.backbones.gpt2.checkpoint import CONFIG, weight_files

        self._shape()
        config = (path / CONFIG,) if path.is_dir() else ()
        return (*config, *weight_files(path))

    def user_file_warnings(self) -> tuple[str, ...]:
        """Parts of the user's checkpoint that are not used: its head and added tokens."""
        path = self._checkpoint
        if path is None:
            return ()
        from clsbench.builtin.backbones.gpt2.checkpoint import unused_parts
        from clsbench.builtin.backbones.gpt2.config import CheckpointError

        try:
            return unused_parts(path)
        except CheckpointError as error:
            raise self._usage_error(error) from None

    def stand_in(self) -> clsbench.Backbone | None:
        """``gpt2-nano`` with the same options; ``None`` for a checkpoint of the user."""
        if self._checkpoint is not None:
            return None
        from clsbench.builtin.backbones.gpt2_nano import GPT2Nano

        weights: Literal["pretrained", "random"] = (
            "random" if self.weights == "random" else "pretrained"
        )
        return GPT2Nano(weights=weights, causal=self.causal)

    def tokenizer(self, files: Files) -> Tokenizer:
        """GPT-2's byte-level BPE of 50,257 tokens.

        Raises:
            UsageError: the user's checkpoint has a smaller vocabulary.
        """
        from clsbench.builtin.backbones.gpt2.tokenizer import END_OF_TEXT_ID, load_tokenizer

        vocabulary_size = self._shape().vocabulary_size
        if vocabulary_size <= END_OF_TEXT_ID:
            raise UsageError(
                f"backbone gpt2, weights={self.weights}: config.json: vocab_size = "
                f"{vocabulary_size}, but GPT-2's tokenizer has {END_OF_TEXT_ID + 1} tokens; only "
                "checkpoints with GPT-2's vocabulary are supported"
            )
        return load_tokenizer(files[MERGES.key], files[TOKEN_IDS.key])

    def context_length(self) -> int:
        """1024 tokens, or that of the user's checkpoint."""
        return self._shape().context_length

    def hidden_size(self) -> int:
        """The width of the size, or that of the user's checkpoint."""
        return self._shape().width

    def describe(self) -> tuple[ParameterInfo, ...]:
        """Its parameters in the module's order; nothing is allocated."""
        from clsbench.builtin.backbones.gpt2.module import stage_of

        return clsbench.describe_parameters(self.skeleton(), stage_of)

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        from clsbench.builtin.backbones.gpt2.module import GPT2Module

        with clsbench.without_weights():
            return GPT2Module(self._shape(), self.causal)

    def build(self, files: Files) -> nn.Module:
        """Build the module on the CPU in float32.

        Random weights come from PyTorch's global generator, in the book's order.

        Raises:
            UsageError: the user's checkpoint does not fit.
            AssetError: the published weights do not fit, although their hash is correct.
        """
        return self._build(files)

    def numerical_checks(self, files: Files) -> tuple[NumericalCheck, ...]:
        """The figures of the book for the pretrained weights of size small, measured again."""
        if self.weights != "pretrained" or self.size != "small":
            return ()
        from clsbench.builtin.backbones.gpt2.numerics import check_small
        from clsbench.builtin.backbones.gpt2.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(files[MERGES.key], files[TOKEN_IDS.key])
        language_model = msgspec.structs.replace(self, causal=True)._build(files)
        return check_small(language_model, tokenizer)

    @property
    def _checkpoint(self) -> Path | None:
        """The path of the user's checkpoint, if any."""
        if self.weights in ("pretrained", "random"):
            return None
        return Path(os.path.expanduser(self.weights))  # Path.expanduser raises for unknown users

    def _shape(self) -> GPT2Shape:
        path = self._checkpoint
        if path is None:
            return SHAPES[self.size]
        from clsbench.builtin.backbones.gpt2.checkpoint import read_shape
        from clsbench.builtin.backbones.gpt2.config import CheckpointError

        try:
            shape = read_shape(path)
        except CheckpointError as error:
            raise self._usage_error(error) from None
        # The default cannot be distinguished from an explicit choice, so it is not checked.
        if self.size != "small" and shape != SHAPES[self.size]:
            raise UsageError(
                f"backbone gpt2: size={self.size} does not match {self.weights}, which has "
                f"{shape.blocks} blocks of width {shape.width}; omit size, the checkpoint sets it"
            )
        return shape

    def _build(self, files: Files) -> GPT2Module:
        from clsbench.builtin.backbones.gpt2.checkpoint import load
        from clsbench.builtin.backbones.gpt2.config import CheckpointError
        from clsbench.builtin.backbones.gpt2.module import GPT2Module

        if self.weights == "random":
            return GPT2Module(self._shape(), self.causal)
        if self._checkpoint is not None:
            try:
                return load(self._checkpoint, self._shape(), self.causal)
            except CheckpointError as error:
                raise self._usage_error(error) from None
        key = WEIGHTS[self.size].key
        try:
            return load(files[key], self._shape(), self.causal)
        except CheckpointError as error:
            raise AssetError(
                f"asset {key}: {files[key]}: {error}; remove the file and fetch it again"
            ) from None

    def _usage_error(self, error: CheckpointError) -> UsageError:
        close = difflib.get_close_matches(self.weights, ("pretrained", "random"), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return UsageError(f"backbone gpt2, weights={self.weights}: {error}{hint}")


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``gpt2``."""
    return {"gpt2": GPT2}
