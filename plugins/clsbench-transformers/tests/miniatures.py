"""Miniature models of every family with random weights, as folders that transformers saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

CONTEXT = 64
VOCABULARY = 300
WINDOW = 4
"""Keys on one side of a query in layers with a sliding window."""

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8, "attention_dropout": 0.1}
_ALTERNATING = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_ROBERTA = {"pad_token_id": 1, "max_position_embeddings": CONTEXT + 2, **_DROPOUT}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _DROPOUT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "max_relative_positions": -1,
    },
    "modernbert": {
        "local_attention": 2 * WINDOW,
        "global_attn_every_n_layers": 2,
        "mlp_dropout": 0.1,
    },
    "gpt2": {"resid_pdrop": 0.1},
    "gpt_neox": {"hidden_dropout": 0.1},
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": WINDOW},
    "qwen2": {
        **_GROUPED,
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,
    },
    "qwen3": _GROUPED,
    "gemma": _GROUPED,
    "gemma2": {**_GROUPED, **_ALTERNATING},
    "gemma3_text": {**_GROUPED, **_ALTERNATING},
}
"""By family: the settings that differ from those of all."""

ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "deberta-v2", "modernbert")


def config_of(family: str, **changes: Any) -> Any:
    sizes = dict(_SIZES)
    if family == "distilbert":
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
        ):
            del sizes[name]
    return AutoConfig.for_model(family, **{**sizes, **CONFIGS[family], **changes})


def save_model(folder: Path, family: str, **changes: Any) -> Path:
    """Save a model with random weights and a tokenizer; returns the folder."""
    torch.manual_seed(5)
    model = AutoModel.from_config(config_of(family, **changes), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    two = family in ("roberta", "xlm-roberta", "camembert")
    tokenizer = word_pieces(two) if family in ENCODERS else byte_pairs()
    tokenizer.save_pretrained(folder)
    return folder


def word_pieces(two_separators: bool = False) -> PreTrainedTokenizerFast:
    """Single characters, between ``[CLS]`` and ``[SEP]``.

    The texts of a pair have the token types 0 and 1; with ``two_separators``, as in RoBERTa, there
    are two ``[SEP]`` between them, and one type.
    """
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(n) for n in range(33, 127)]
    vocabulary = {
        piece: n for n, piece in enumerate([*names, *letters, *(f"##{c}" for c in letters)])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [SEP] $B [SEP]" if two_separators else "[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def byte_pairs() -> PreTrainedTokenizerFast:
    """Single bytes; no special token stands around a text, and none is for padding."""
    names = ["<|unused|>", "<|im_end|>", "<|im_start|>", "<|endoftext|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate([*names, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|endoftext|>"
    )


def sentence_pieces() -> PreTrainedTokenizerFast:
    """A vocabulary that holds the names of special tokens as its likeliest pieces."""
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = ["▁", *(chr(n) for n in range(33, 127))]
    pieces = [*((name, 0.0) for name in names), *((letter, -5.0) for letter in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def train_sentence_pieces(folder: Path) -> None:
    """Replace the tokenizer of a saved DeBERTa by ``spm.model``, with 60 pieces."""
    import sentencepiece

    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "DebertaV2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = folder / "texts.txt"
    texts.write_text("\n".join(f"you have won prize {n}, call {7 * n} now" for n in range(300)))
    names = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(folder / "spm"),
        vocab_size=60,
        minloglevel=2,
        **{f"{name}_id": n for n, name in enumerate(names)},
        **{f"{name}_piece": piece for name, piece in names.items()},
    )
    texts.unlink()
