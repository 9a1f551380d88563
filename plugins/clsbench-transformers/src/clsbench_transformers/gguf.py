"""Convert GGUF files to the layout of transformers, once, into the cache.

Dequantizing takes far longer than reading the result. The cache is keyed by the file's content and
the version of transformers, which converts it.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import clsbench
from clsbench_transformers.checkpoint import (
    SINGLE_FILE,
    CheckpointError,
    check_architecture,
    check_loaded,
    explained,
    quiet,
    require,
)

_MAGIC = b"GGUF"


def converted(file: Path, part: str) -> Path:
    """The folder with a ``part`` of the converted file: ``description`` or ``weights``.

    The description is config and tokenizer; the weights come with a config too.

    Raises:
        CheckpointError: the file cannot be converted.
    """
    content = _content(file)
    require("gguf", "accelerate")
    version = metadata.version("transformers")
    return clsbench.cached_folder(
        f"clsbench-transformers, GGUF: {content} {version} {part}",
        f"{part} of {file.name}, converted by transformers {version}",
        lambda folder: _PARTS[part](file, folder),
    )


def _content(file: Path) -> str:
    try:
        status = file.stat()
        return _sha256(file, (status.st_size, status.st_mtime_ns, status.st_ino))
    except OSError as error:
        raise CheckpointError(f"it cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=8)
def _sha256(file: Path, status: tuple[int, int, int]) -> str:
    """The hash of a file's content; ``status`` changes with it."""
    with file.open("rb") as content:
        if content.read(len(_MAGIC)) != _MAGIC:
            raise CheckpointError("it is not a GGUF file")
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_description(file: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    with explained("its config and tokenizer cannot be converted"), quiet():
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        check_architecture(config.model_type)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    _save_config(config, folder)
    tokenizer.save_pretrained(folder)


def _write_weights(file: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel

    with explained("its weights cannot be converted"), quiet():
        model, info = AutoModel.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    check_loaded(model, info)
    state = {name: each.contiguous() for name, each in model.state_dict().items()}
    save_file(state, folder / SINGLE_FILE, metadata={"format": "pt"})
    _save_config(model.config, folder)


def _save_config(config: Any, folder: Path) -> None:
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)


_PARTS = {"description": _write_description, "weights": _write_weights}
