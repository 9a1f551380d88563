"""The backbone ``hf``: encoders and decoders of Hugging Face transformers."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

import clsbench
from clsbench import Files, ParameterInfo, Tokenizer, UsageError

if TYPE_CHECKING:
    from torch import nn

    from clsbench_transformers.module import StagedModel


class HF(clsbench.Backbone, frozen=True):
    """An encoder or decoder of Hugging Face transformers: BERT, ModernBERT, Llama, Qwen …

    Name a folder that save_pretrained has written, with its tokenizer, or a GGUF file, which is
    converted once into the cache. The tokenizer adds the special tokens that the model expects.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")

    model: Annotated[
        str, Meta(description="the folder of a model: config.json, tokenizer, safetensors")
    ] = ""
    gguf: Annotated[str, Meta(description="a GGUF file, in place of model")] = ""
    weights: Annotated[
        Literal["pretrained", "random"],
        Meta(description="the model's own weights, or random ones for its config"),
    ] = "pretrained"
    dropout: Annotated[
        bool,
        Meta(
            description="train with the dropout of the model's config, which rules out the fast"
            " path's shortcuts"
        ),
    ] = False

    def __post_init__(self) -> None:
        """Check that one model is named.

        Raises:
            ValueError: none or two are.
        """
        if bool(self.model) == bool(self.gguf):
            raise ValueError("expected either model=FOLDER or gguf=FILE")

    def user_files(self) -> tuple[Path, ...]:
        """The files of the model that are read.

        Raises:
            UsageError: some are missing.
        """
        if self.gguf:
            return (_path(self.gguf),)
        from clsbench_transformers.checkpoint import files_of

        path = _path(self.model)
        if not path.is_dir():
            here = "" if path.is_absolute() else f" (relative to {Path.cwd()})"
            raise UsageError(
                f"{self._named}: no such folder{here}; to get a model of the hub: "
                "hf download NAME --local-dir FOLDER"
            )
        with self._naming():
            return files_of(path, self.weights == "pretrained")

    def tokenizer(self, files: Files) -> Tokenizer:
        """The model's own tokenizer, with its special tokens.

        Raises:
            UsageError: it cannot be loaded, or has more tokens than the model.
        """
        from clsbench_transformers.checkpoint import load_tokenizer
        from clsbench_transformers.tokenizer import ModelTokenizer

        with self._naming():
            tokenizer = ModelTokenizer(load_tokenizer(self._description()))
        if len(tokenizer) > self._config().vocab_size:
            raise UsageError(
                f"{self._named}: its tokenizer has {len(tokenizer):,} tokens, but the model has "
                f"embeddings for {self._config().vocab_size:,}: they do not belong together"
            )
        return tokenizer

    def context_length(self) -> int:
        """The number of positions of the model."""
        from clsbench_transformers.families import context_length

        return context_length(self._config())

    def hidden_size(self) -> int:
        """The width of the model."""
        return int(self._config().hidden_size)

    def describe(self) -> tuple[ParameterInfo, ...]:
        """Its parameters under the model's own names; nothing is allocated."""
        from clsbench_transformers.module import describe

        with clsbench.without_weights():
            return describe(self._random())

    def skeleton(self) -> nn.Module:
        """The module on the meta device."""
        with clsbench.without_weights():
            return self._random()

    def build(self, files: Files) -> nn.Module:
        """Build the module on the CPU in float32.

        Random weights come from PyTorch's global generator, as transformers draws them.

        Raises:
            UsageError: the weights do not fit the config.
        """
        if self.weights == "random":
            return self._random()
        from clsbench_transformers.checkpoint import load_model
        from clsbench_transformers.gguf import converted
        from clsbench_transformers.module import staged

        with self._naming():
            folder = converted(_path(self.gguf), "weights") if self.gguf else _path(self.model)
            return staged(load_model(folder, self._config()))

    def cache_facts(self, value: object) -> object:
        """The settings of a model's config, and the parts of a partial function."""
        from transformers import PretrainedConfig

        if isinstance(value, PretrainedConfig):
            return {key: each for key, each in value.to_dict().items() if key != "_name_or_path"}
        if isinstance(value, functools.partial):
            return [value.func, list(value.args), value.keywords]
        return None

    def _random(self) -> StagedModel:
        import torch
        from transformers import AutoModel

        from clsbench_transformers.checkpoint import quiet
        from clsbench_transformers.module import implementation, staged

        config = self._config()
        with quiet():
            model = AutoModel.from_config(
                config, dtype=torch.float32, attn_implementation=implementation(config)
            )
        return staged(model)

    def _config(self) -> Any:
        from clsbench_transformers.checkpoint import read_config

        with self._naming():
            return read_config(self._description(), self.dropout)

    def _description(self) -> Path:
        """The folder that holds config and tokenizer."""
        if not self.gguf:
            return _path(self.model)
        from clsbench_transformers.gguf import converted

        return converted(_path(self.gguf), "description")

    @property
    def _named(self) -> str:
        return f"backbone hf, gguf={self.gguf}" if self.gguf else f"backbone hf, model={self.model}"

    @contextmanager
    def _naming(self) -> Iterator[None]:
        from clsbench_transformers.checkpoint import CheckpointError

        try:
            yield
        except CheckpointError as error:
            raise UsageError(f"{self._named}: {error}") from error


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # Path.expanduser raises for unknown users


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``hf``."""
    return {"hf": HF}
