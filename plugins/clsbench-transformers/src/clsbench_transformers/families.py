"""The supported architectures: where a base model of transformers keeps its stages.

Everything else is the model's own: blocks, norms and rotary tables are used as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn


class Family(NamedTuple):
    """The names of modules in the base models of an architecture.

    ``tokens`` are the embeddings of tokens, or all embeddings; to tokens alone, those of
    ``positions`` are added, and ``dropout`` is applied. ``offset``: positions are counted from
    behind the padding id. ``relative``: attention uses relative positions, computed by the model's
    own attention, not by :func:`~clsbench_transformers.attention.attend`.
    """

    blocks: str
    norm: str | None
    tokens: str
    positions: str | None = None
    dropout: str | None = None
    offset: bool = False
    relative: bool = False

    def embed(
        self, model: nn.Module, input_ids: Tensor, positions: Tensor, token_types: Tensor | None
    ) -> Tensor:
        """The embeddings: (B, T) int64, (1, T) int64 and (B, T) int64 → (B, T, H)."""
        tokens = model.get_submodule(self.tokens)
        if self.offset:
            positions = positions + int(tokens.padding_idx) + 1  # type: ignore[arg-type]
        given = {}
        if "position_ids" in inspect.signature(tokens.forward).parameters:
            given["position_ids"] = positions
        if token_types is not None:
            given["token_type_ids"] = token_types
        hidden: Tensor = tokens(input_ids, **given)
        if self.positions is not None:
            hidden = hidden + model.get_submodule(self.positions)(positions)
        if self.dropout is not None:
            hidden = model.get_submodule(self.dropout)(hidden)
        return hidden


_BERT = Family("encoder.layer", None, "embeddings")
_ROBERTA = _BERT._replace(offset=True)
_LLAMA = Family("layers", "norm", "embed_tokens")

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "deberta-v2": _BERT._replace(relative=True),
    "distilbert": Family("transformer.layer", None, "embeddings"),
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "gpt2": Family("h", "ln_f", "wte", positions="wpe", dropout="drop"),
    "gpt_neox": Family("layers", "final_layer_norm", "embed_in", dropout="emb_dropout"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "modernbert": Family("layers", "final_norm", "embeddings"),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""By ``model_type`` of the config. MiniLM is a ``bert``, DeBERTa-v3 a ``deberta-v2``, SmolLM2 a
``llama``."""


def context_length(config: Any) -> int:
    """The number of positions of a model."""
    skipped = config.pad_token_id + 1 if FAMILIES[config.model_type].offset else 0
    return int(config.max_position_embeddings) - skipped
