"""Miniature GPT-2 checkpoints, as transformers saves them and as the hub holds them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from clsbench.builtin.backbones.gpt2.shape import GPT2Shape

transformers = pytest.importorskip(
    "transformers", reason="the oracle is absent: pip install transformers"
)

VOCABULARY_SIZE = 211
CONTEXT_LENGTH = 24

# The head counts of the four sizes and their ratios of width to heads, each with 4 features a head
# instead of 64, and fewer blocks.
MINIATURES = {
    "small": GPT2Shape(48, 2, 12, CONTEXT_LENGTH, VOCABULARY_SIZE),
    "medium": GPT2Shape(64, 3, 16, CONTEXT_LENGTH, VOCABULARY_SIZE),
    "large": GPT2Shape(80, 4, 20, CONTEXT_LENGTH, VOCABULARY_SIZE),
    "xl": GPT2Shape(100, 5, 25, CONTEXT_LENGTH, VOCABULARY_SIZE),
}


def language_model(shape: GPT2Shape, seed: int = 0, **options: Any) -> Any:
    """transformers' model with random values in all parameters, also in biases and norms."""
    config = transformers.GPT2Config(
        n_embd=shape.width,
        n_layer=shape.blocks,
        n_head=shape.attention_heads,
        n_positions=shape.context_length,
        vocab_size=shape.vocabulary_size,
        bos_token_id=0,
        eos_token_id=0,
        **options,
    )
    model = transformers.GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def some_ids(shape: GPT2Shape, texts: int = 3, length: int | None = None) -> torch.Tensor:
    """Token ids (texts, length) int64, as long as the context by default."""
    generator = torch.Generator().manual_seed(1)
    size = (texts, length or shape.context_length)
    return torch.randint(shape.vocabulary_size, size, generator=generator)


def hub_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The model's tensors as the hub's files hold them: no prefix, no head, with the masks."""
    context = model.config.n_positions
    mask = torch.ones(context, context).tril().view(1, 1, context, context)
    tensors = {k: v.clone() for k, v in model.transformer.state_dict().items()}
    masks = {f"h.{n}.attn.bias": mask.clone() for n in range(model.config.n_layer)}
    return tensors | masks


def write_zeros(path: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str = "F16") -> None:
    """A safetensors file of zeros that takes hardly any space on the disk."""
    size = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I8": 1}[dtype]
    header: dict[str, Any] = {}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + size * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def tensor_shapes(shape: GPT2Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a hub file, as transformers' own module has them."""
    config = transformers.GPT2Config(
        n_embd=shape.width,
        n_layer=shape.blocks,
        n_head=shape.attention_heads,
        n_positions=shape.context_length,
        vocab_size=shape.vocabulary_size,
    )
    with torch.device("meta"):
        model = transformers.GPT2Model(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
