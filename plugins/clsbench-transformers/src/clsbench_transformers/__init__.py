"""The backbone ``hf``: encoders and decoders of Hugging Face transformers."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

import clsbench
from clsbench import Asset, Files, HubFile, ParameterInfo, UsageError

if TYPE_CHECKING:
    from torch import nn

    from clsbench_transformers.module import StagedModel
    from clsbench_transformers.tokenizer import ModelTokenizer

_WEIGHTS = (".safetensors", ".bin")


class HF(clsbench.Backbone, frozen=True):
    """An encoder or decoder of Hugging Face transformers, such as BERT, ModernBERT, Llama or Qwen.

    Name a folder that save_pretrained has written, with its tokenizer; a model of the hub, with the
    revision; or a GGUF file, which is converted once into the cache. The tokenizer adds the special
    tokens that the model expects.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")

    model: Annotated[
        str,
        Meta(description="the folder of a model; with revision, its name on the Hugging Face hub"),
    ] = ""
    revision: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{40})?\Z",
            description="the commit of a model on the hub (40 digits, from its list of commits)",
        ),
    ] = ""
    files: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^/\\]+\Z")], ...],
        Meta(description="the files of a model on the hub: config, tokenizer and weights"),
    ] = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
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
            ValueError: none or two are, or a revision belongs to no name on the hub.
        """
        if bool(self.model) == bool(self.gguf):
            raise ValueError("expected either model=FOLDER or gguf=FILE")
        if self.revision and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.model):
            raise ValueError(
                f"revision = {self.revision!r}: expected model=ORGANISATION/NAME of the hub, not "
                f"{self.model!r}"
            )

    def assets(self) -> tuple[Asset, ...]:
        """The files of a model on the hub, pinned by the revision."""
        if not self.revision:
            return ()
        return tuple(
            Asset(
                key=f"{self.model}/{name}",
                sources=(HubFile(self.model, name, self.revision),),
                sha256=None,
            )
            for name in self.files
            if self.weights == "pretrained" or not name.endswith(_WEIGHTS)
        )

    def tokenizer_assets(self) -> tuple[Asset, ...]:
        """The files of a model on the hub without its weights."""
        return tuple(asset for asset in self.assets() if not asset.key.endswith(_WEIGHTS))

    def with_files(self, files: Files) -> clsbench.Backbone:
        """For a model of the hub, one that knows its folder.

        Raises:
            UsageError: ``files`` does not name those of a model.
        """
        if not self.revision:
            return self
        from clsbench_transformers.cache import linked
        from clsbench_transformers.checkpoint import files_of

        found = {Path(a.key).name: files[a.key] for a in self.assets() if a.key in files}
        folder = linked(found, self.model)
        with self._naming():
            files_of(folder, weights=False)
        return _HubModel(**msgspec.structs.asdict(self), folder=str(folder))

    def user_files(self) -> tuple[Path, ...]:
        """The files of the model that are read.

        Raises:
            UsageError: some are missing.
        """
        if self.gguf:
            return (_path(self.gguf),)
        if self.revision:
            return ()
        from clsbench_transformers.checkpoint import files_of

        path = _path(self.model)
        if not path.is_dir():
            here = "" if path.is_absolute() else f" (relative to {Path.cwd()})"
            raise UsageError(
                f"{self._named}: no such folder{here}; for a model of the hub, "
                "name its revision too"
            )
        with self._naming():
            return files_of(path, self.weights == "pretrained")

    def user_file_warnings(self) -> tuple[str, ...]:
        """That the head of a fine-tuned classifier is not used."""
        if not self.model or self.revision or self.weights == "random":
            return ()
        from clsbench_transformers.checkpoint import head_of

        with self._naming():
            head = ", ".join(head_of(_path(self.model)))
        return (f"its head ({head}) is not used: a run trains its own",) if head else ()

    def tokenizer(self, files: Files) -> ModelTokenizer:
        """The model's own tokenizer, with its special tokens.

        Raises:
            UsageError: it cannot be loaded, or has more tokens than the model.
        """
        from clsbench_transformers.checkpoint import load_tokenizer
        from clsbench_transformers.tokenizer import ModelTokenizer

        embeddings = int(self._config().vocab_size)  # first: names an unsupported architecture
        with self._naming():
            own = load_tokenizer(self._description())
        tokenizer = ModelTokenizer(own, embeddings)
        if (largest := tokenizer.largest_id()) >= embeddings:
            raise UsageError(
                f"{self._named}: its tokenizer has the token id {largest:,}, but the model has "
                f"{embeddings:,} embeddings: they do not belong together"
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
        separator = None
        if getattr(self._config(), "type_vocab_size", 0) > 1:
            separator = self.tokenizer(files).type_separator
        if self.weights == "random":
            return self._random(separator)
        from clsbench_transformers.checkpoint import files_of, load_model
        from clsbench_transformers.gguf import converted
        from clsbench_transformers.module import staged

        with self._naming():
            folder = converted(_path(self.gguf), "weights") if self.gguf else self._folder
            if self.revision:
                files_of(folder, weights=True)
            return staged(load_model(folder, self._config()), separator)

    def for_export(self) -> tuple[Any, Any]:
        """The config and the tokenizer of transformers, for a classifier built on this model."""
        from clsbench_transformers.checkpoint import load_tokenizer

        with self._naming():
            tokenizer = load_tokenizer(self._description())
        # Names of special tokens in a text are ordinary text, as in training.
        tokenizer.split_special_tokens = True
        tokenizer.init_kwargs["split_special_tokens"] = True
        return self._config(), tokenizer

    def cache_facts(self, value: object) -> object:
        """The settings of a model's config, and the parts of a partial function."""
        from transformers import PretrainedConfig

        if isinstance(value, PretrainedConfig):
            return {key: each for key, each in value.to_dict().items() if key != "_name_or_path"}
        if isinstance(value, functools.partial):
            return [value.func, list(value.args), value.keywords]
        return None

    def _random(self, type_separator: int | None = None) -> StagedModel:
        import torch
        from transformers import AutoModel

        from clsbench_transformers.checkpoint import CONFIG, explained, quiet
        from clsbench_transformers.module import implementation, staged

        config = self._config()
        with self._naming(), explained(f"{CONFIG} describes no possible model"), quiet():
            model = AutoModel.from_config(
                config, dtype=torch.float32, attn_implementation=implementation(config)
            )
        return staged(model, type_separator)

    def _config(self) -> Any:
        from clsbench_transformers.checkpoint import read_config

        with self._naming():
            return read_config(self._description(), self.dropout)

    def _description(self) -> Path:
        """The folder that holds config and tokenizer."""
        if not self.gguf:
            return self._folder
        from clsbench_transformers.gguf import converted

        return converted(_path(self.gguf), "description")

    @property
    def _folder(self) -> Path:
        if self.revision:
            raise UsageError(f"{self._named}: its files are not available yet (see with_files)")
        return _path(self.model)

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


class _HubModel(HF, frozen=True):
    """A model of the hub whose files are in a folder."""

    folder: str = ""

    @property
    def _folder(self) -> Path:
        return Path(self.folder)


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # Path.expanduser raises for unknown users


@clsbench.hookimpl
def clsbench_register_backbones() -> Mapping[str, type[clsbench.Backbone]]:
    """Register ``hf``."""
    return {"hf": HF}
