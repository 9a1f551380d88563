"""The shape of a GPT-2 from the ``config.json`` of a checkpoint. No torch.

Settings that our module does not implement are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsbench.builtin.backbones.gpt2.shape import GPT2Shape
from clsbench.builtin.backbones.gpt2.tokenizer import END_OF_TEXT_ID
from clsbench.data import DecodingError, decode_json, read_bytes


class CheckpointError(Exception):
    """A checkpoint is invalid. The caller adds the path to the message."""


_SIZES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "vocab_size": "vocab_size",
}
"""The keys of sizes, with their names in other architectures."""

_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of the tanh form
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
}
"""The supported values; the first is the default of transformers.

Dropout is not among them: it does not affect the weights, and clsbench trains without it.
"""


def read_config(path: Path) -> GPT2Shape:
    """The shape that ``config.json`` describes.

    Raises:
        CheckpointError: it is not the configuration of a GPT-2 that we compute exactly.
    """
    config = _read(path)
    _require(config, "model_type", ("gpt2",), default=None)
    for key, values in _SUPPORTED.items():
        _require(config, key, values, default=values[0])
    shape = GPT2Shape(
        width=_size(config, "n_embd"),
        blocks=_size(config, "n_layer"),
        attention_heads=_size(config, "n_head"),
        context_length=_size(config, "n_positions"),
        vocabulary_size=_size(config, "vocab_size"),
    )
    if shape.width % shape.attention_heads:
        raise CheckpointError(
            f"config.json: n_embd = {shape.width} is not a multiple of n_head = "
            f"{shape.attention_heads}"
        )
    _require(config, "n_inner", (None, 4 * shape.width), default=None)
    return shape


def unused_tokens(path: Path) -> list[str]:
    """Messages about tokens in ``config.json`` that are not GPT-2's and therefore not used.

    Raises:
        CheckpointError: it cannot be read.
    """
    config = _read(path)
    found = []
    padding, size = config.get("pad_token_id"), config.get("vocab_size")
    if padding not in (None, END_OF_TEXT_ID):
        found.append(
            f"its padding token (config.json: pad_token_id = {json.dumps(padding)}) is not used: "
            f"texts are padded with GPT-2's end-of-text token, {END_OF_TEXT_ID}"
        )
    if isinstance(size, int) and size > END_OF_TEXT_ID + 1:
        found.append(
            f"its tokens beyond GPT-2's {END_OF_TEXT_ID + 1:,} (config.json: vocab_size = {size}) "
            "are not used: texts are tokenized with GPT-2's own tokenizer"
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        config = decode_json(read_bytes(path))
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error.strerror}") from None
    except DecodingError as error:
        raise CheckpointError(f"{path.name} is not valid JSON: {error}") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path.name} contains {type(config).__name__}, expected an object")
    return config


def _require(config: Mapping[str, Any], key: str, values: tuple[Any, ...], default: object) -> None:
    value = config.get(key, default)
    # 1 == True, but 1 is not a boolean.
    if not any(value == known and type(value) is type(known) for known in values):
        expected = " or ".join(json.dumps(known) for known in values)
        raise CheckpointError(
            f"config.json: {key} = {json.dumps(value)}, which is not supported "
            f"(expected {expected})"
        )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key, config.get(_SIZES[key]))
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        found = "is missing" if value is None else f"= {json.dumps(value)}"
        raise CheckpointError(f"config.json: {key} {found}, expected a whole number of at least 1")
    return value
