"""Read checkpoints in the layout of transformers: a folder with config, tokenizer and weights."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import safe_open

from clsbench.data import DecodingError, decode_json, read_bytes
from clsbench_transformers.families import FAMILIES

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
ADAPTER = "adapter_config.json"
SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
VOCABULARIES = (
    *("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt"),
    *("spm.model", "spiece.model", "sentencepiece.bpe.model"),
)
"""Files of which a tokenizer has at least one."""
TOKENIZER_FILES = (
    *VOCABULARIES,
    *(TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"),
)

OLD_FILE = "pytorch_model.bin"
"""Weights that torch.save has written; read with ``weights_only``, so that no code in it runs."""

_UNSUPPORTED = ("pytorch_model.bin.index.json", "tf_model.h5", "model.ckpt.index")

_SUPPORTED: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (None, False),
    "conv_kernel_size": (None, 0),
    "position_embedding_type": (None, "absolute"),
    "quantization_config": (None,),
}

_CAUSAL_WHATEVER_CONFIGURED = ("gemma", "gemma2")
"""Architectures whose code in transformers keeps its causal mask in bidirectional attention."""

_HEAD = re.compile(r"(classifier|pre_classifier|score|qa_outputs)\.")


class CheckpointError(Exception):
    """A checkpoint cannot be used. The caller adds its path to the message."""


def files_of(directory: Path, weights: bool) -> tuple[Path, ...]:
    """The files that are read: config, tokenizer and, if asked for, weights.

    Raises:
        CheckpointError: some are missing.
    """
    config = directory / CONFIG
    if not config.is_file():
        raise CheckpointError(
            f"the folder has no {CONFIG}; expected a model as save_pretrained of transformers "
            "writes it"
        )
    if (directory / ADAPTER).is_file():
        raise CheckpointError(
            f"the folder holds an adapter of peft ({ADAPTER}); merge it into the model with "
            "merge_and_unload() and save that"
        )
    if not any((directory / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(
            f"the folder has no tokenizer (none of {', '.join(VOCABULARIES)}); save that of the "
            "model there with tokenizer.save_pretrained(FOLDER)"
        )
    tokenizer = (directory / name for name in TOKENIZER_FILES)
    found = (config, *(path for path in tokenizer if path.is_file()))
    return (*found, *_weight_files(directory)) if weights else found


def _weight_files(directory: Path) -> tuple[Path, ...]:
    if (directory / SINGLE_FILE).is_file():
        return (directory / SINGLE_FILE,)
    index = directory / INDEX
    if not index.is_file() and (directory / OLD_FILE).is_file():
        return (directory / OLD_FILE,)
    if not index.is_file():
        other = next((name for name in _UNSUPPORTED if (directory / name).is_file()), None)
        if other is None:
            raise CheckpointError(f"the folder has no weights: neither {SINGLE_FILE} nor {INDEX}")
        raise CheckpointError(
            f"the weights are in {other}; only safetensors is supported: load the model with "
            "transformers and save it with model.save_pretrained(FOLDER)"
        )
    try:
        names = sorted(
            {str(name) for name in decode_json(read_bytes(index))["weight_map"].values()}
        )
    except (OSError, DecodingError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{INDEX} is not an index of weight files: {type(error).__name__}: {error}"
        ) from None
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{INDEX} names the file {name!r}, which is not beside it")
        if not (directory / name).is_file():
            raise CheckpointError(
                f"{name}, which {INDEX} names, is missing; copy or download it too"
            )
    return (index, *(directory / name for name in names))


def read_config(directory: Path, dropout: bool) -> Any:
    """The config of transformers; without ``dropout``, all rates of dropout are 0.

    Raises:
        CheckpointError: it cannot be read, or describes a model that is not supported.
    """
    written = _settings(directory / CONFIG)
    check_architecture(written.get("model_type"))
    with explained(f"{CONFIG} is not valid"), quiet():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    _check(config, written)
    if not dropout:
        for name, value in config.to_dict().items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(config, name, 0.0)
    return config


def _settings(file: Path) -> dict[str, Any]:
    """The content of a JSON file; code that it refers to is never run.

    Raises:
        CheckpointError: it cannot be read, or refers to code.
    """
    try:
        settings: object = decode_json(read_bytes(file))
    except (OSError, DecodingError) as error:
        raise CheckpointError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file.name} is not a table of settings")
    if "auto_map" in settings:
        raise CheckpointError(
            f"{file.name} refers to code of its own (auto_map), which is never run; use a model "
            "whose code is part of transformers"
        )
    return settings


def check_architecture(model_type: object) -> None:
    """Refuse an architecture that is not in :data:`FAMILIES`.

    Raises:
        CheckpointError: it is not.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        what = f"architecture {model_type!r}" if model_type else f"{CONFIG} names no model_type; it"
        raise CheckpointError(f"{what} is not supported; supported: {', '.join(sorted(FAMILIES))}")


def _check(config: Any, written: dict[str, Any]) -> None:
    """Refuse settings with which the stages would not be exact.

    Raises:
        CheckpointError: there is one.
    """
    for name, supported in _SUPPORTED.items():
        if (value := written.get(name)) not in supported:
            raise CheckpointError(f"{CONFIG}: {name} = {value!r} is not supported")
    if config.model_type in _CAUSAL_WHATEVER_CONFIGURED and config.use_bidirectional_attention:
        raise CheckpointError(
            f"{CONFIG}: use_bidirectional_attention = true is not supported for "
            f"{config.model_type}: transformers applies a causal mask nevertheless"
        )
    if FAMILIES[config.model_type].offset and config.pad_token_id is None:
        raise CheckpointError(
            f"{CONFIG}: pad_token_id is missing, but the positions of a {config.model_type} are "
            "counted from it; set it to the id of the tokenizer's padding token"
        )
    rotary = getattr(config, "rope_parameters", None) or {}
    for table in (rotary, *rotary.values()):
        kind = table.get("rope_type") if isinstance(table, dict) else None
        if kind in ("dynamic", "longrope"):
            raise CheckpointError(
                f"{CONFIG}: rotary positions of the type {kind!r} are not supported: the hidden "
                "states of a text depend on the longest text of its batch"
            )


def load_model(directory: Path, config: Any) -> Any:
    """The base model with the weights of the folder, in float32 on the CPU.

    Raises:
        CheckpointError: the weights do not fit the config.
    """
    import torch
    from transformers import AutoModel

    from clsbench_transformers.module import implementation

    with explained("its weights cannot be loaded"), quiet():
        model, info = AutoModel.from_pretrained(
            directory,
            config=config,
            dtype=torch.float32,
            attn_implementation=implementation(config),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=(directory / OLD_FILE) not in _weight_files(directory),
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    check_loaded(model, info)
    return model


def check_loaded(model: Any, info: dict[str, Any]) -> None:
    """Refuse weights that do not fit; ``info`` is the loading info of transformers.

    Raises:
        CheckpointError: tensors are missing, have other shapes, or belong to further blocks.
    """
    from clsbench_transformers.module import POOLER

    for name, found, expected in sorted(info["mismatched_keys"]):
        raise CheckpointError(
            f"tensor {name} has shape {tuple(found)}, but {CONFIG} demands {tuple(expected)}"
        )
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(f"{POOLER}."))
    if missing:
        others = f" (and {len(missing) - 1} others)" if missing[1:] else ""
        raise CheckpointError(f"its weights lack the tensor {missing[0]}{others}")
    block = re.compile(rf"(^|\.){re.escape(FAMILIES[model.config.model_type].blocks)}\.\d+\.")
    further = sorted(name for name in info["unexpected_keys"] if block.search(name))
    if further:
        raise CheckpointError(
            f"its weights hold {further[0]}, which is not part of the model of {CONFIG}"
        )


def head_of(directory: Path) -> list[str]:
    """The names of the tensors of a classification head in a folder.

    Raises:
        CheckpointError: its weights cannot be read.
    """
    found: list[str] = []
    for file in _weight_files(directory):
        if file.suffix == ".safetensors":
            with (
                explained(f"{file.name} cannot be read"),
                safe_open(file, framework="np") as opened,
            ):
                found += filter(_HEAD.match, opened.keys())
    return sorted(found)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of the folder, backed by tokenizers.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    if (directory / TOKENIZER_CONFIG).is_file():
        _settings(directory / TOKENIZER_CONFIG)
    if not (directory / "tokenizer.json").is_file() and list(directory.glob("*.model")):
        require("sentencepiece", "protobuf")
    with explained("its tokenizer cannot be loaded"), quiet():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise CheckpointError(
            f"its tokenizer ({type(tokenizer).__name__}) has no fast form; save one as "
            "tokenizer.json there"
        )
    return tokenizer


def require(*distributions: str) -> None:
    """Refuse a file that transformers can only read with these distributions.

    Raises:
        CheckpointError: one is not installed.
    """
    installed = {each.name.lower() for each in metadata.distributions() if each.name}
    if absent := [name for name in distributions if name not in installed]:
        raise CheckpointError(
            f"transformers needs {' and '.join(absent)} to read it; install: "
            f"pip install {' '.join(absent)}"
        )


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Convert errors of transformers and the libraries that it uses."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(lines[:3])
        if not said or isinstance(error, KeyError):  # whose text is the key alone
            said = f"{type(error).__name__} {said}".strip()
        raise CheckpointError(f"{problem}: {said}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal: our messages say what matters."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # for bars that have no switch
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
