"""The supported architectures: where a model keeps its stages, and how its embeddings are called.

Everything else is the model's own: blocks, norms and rotary tables are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

Embed = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""``(model, input_ids, positions) -> hidden``: (B, T) int64 both → (B, T, H)."""


class Family(NamedTuple):
    """An architecture: the paths of its list of blocks and its final norm in the base model.

    ``embed`` computes the embeddings. ``offset``: its positions are counted from behind the padding
    id. ``relative``: attention uses relative positions, computed by the model's own attention, not
    by :func:`~clsbench_transformers.attention.attend`.
    """

    blocks: str
    norm: str | None
    embed: Embed
    offset: bool = False
    relative: bool = False


def context_length(config: Any) -> int:
    """The number of positions of a model."""
    skipped = config.pad_token_id + 1 if FAMILIES[config.model_type].offset else 0
    return int(config.max_position_embeddings) - skipped


def _embeddings(model: Any, input_ids: Tensor, positions: Tensor) -> Tensor:
    hidden: Tensor = model.embeddings(input_ids=input_ids, position_ids=positions)
    return hidden


def _offset_embeddings(model: Any, input_ids: Tensor, positions: Tensor) -> Tensor:
    return _embeddings(model, input_ids, positions + model.embeddings.padding_idx + 1)


def _token_embeddings(model: Any, input_ids: Tensor, _: Tensor) -> Tensor:
    hidden: Tensor = model.embed_tokens(input_ids)
    return hidden


def _modernbert_embeddings(model: Any, input_ids: Tensor, _: Tensor) -> Tensor:
    hidden: Tensor = model.embeddings(input_ids=input_ids)
    return hidden


def _gpt2_embeddings(model: Any, input_ids: Tensor, positions: Tensor) -> Tensor:
    hidden: Tensor = model.drop(model.wte(input_ids) + model.wpe(positions))
    return hidden


def _neox_embeddings(model: Any, input_ids: Tensor, _: Tensor) -> Tensor:
    hidden: Tensor = model.emb_dropout(model.embed_in(input_ids))
    return hidden


_BERT = Family("encoder.layer", None, _embeddings)
_ROBERTA = Family("encoder.layer", None, _offset_embeddings, offset=True)
_LLAMA = Family("layers", "norm", _token_embeddings)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "deberta-v2": Family("encoder.layer", None, _embeddings, relative=True),
    "distilbert": Family("transformer.layer", None, _embeddings),
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "gpt2": Family("h", "ln_f", _gpt2_embeddings),
    "gpt_neox": Family("layers", "final_layer_norm", _neox_embeddings),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "modernbert": Family("layers", "final_norm", _modernbert_embeddings),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""By ``model_type`` of the config. MiniLM is a ``bert``, DeBERTa-v3 a ``deberta-v2``, SmolLM2 a
``llama``."""
