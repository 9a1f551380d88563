"""The backbone ``gpt2`` of clsbench in the layout of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2TokenizerFast

import clsbench
from clsbench.data import decode_json, read_bytes

_PAIRS = {
    "att.out_proj": "attn.c_proj",
    "ff.layers.0": "mlp.c_fc",
    "ff.layers.2": "mlp.c_proj",
}
"""Linear layers of a block; transformers keeps their weights transposed."""

_NORMS = {"norm1": "ln_1", "norm2": "ln_2"}


def gpt2_base(run: clsbench.TrainedRun) -> tuple[Any, dict[str, Tensor], Any]:
    """The config, the parameters by name, and the tokenizer.

    Raises:
        UsageError: the run has no causal mask.
    """
    spec = run.record.spec["backbone"]
    if not spec["causal"]:
        raise clsbench.UsageError(
            "the format 'transformers': its GPT-2 has a causal mask; train with causal=true"
        )
    backbone: Any = run.classifier.get_submodule("backbone")
    own = {name: p.detach().float() for name, p in backbone.named_parameters()}
    found = {
        "wte.weight": own["tok_emb.weight"],
        "wpe.weight": own["pos_emb.weight"],
        "ln_f.weight": own["final_norm.scale"],
        "ln_f.bias": own["final_norm.shift"],
    }
    for number in range(len(backbone.trf_blocks)):
        found |= _block(own, f"trf_blocks.{number}.", f"h.{number}.")
    width = backbone.hidden_size
    config = GPT2Config(
        vocab_size=len(found["wte.weight"]),
        n_positions=len(found["wpe.weight"]),
        n_embd=width,
        n_layer=len(backbone.trf_blocks),
        n_head=backbone.trf_blocks[0].att.attention_heads,
        n_inner=len(found["h.0.mlp.c_fc.bias"]),
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return config, found, _tokenizer(run)


def _block(own: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    found = {}
    for name, other in _PAIRS.items():
        found[f"{theirs}{other}.weight"] = own[f"{ours}{name}.weight"].T
        found[f"{theirs}{other}.bias"] = own[f"{ours}{name}.bias"]
    for name, other in _NORMS.items():
        found[f"{theirs}{other}.weight"] = own[f"{ours}{name}.scale"]
        found[f"{theirs}{other}.bias"] = own[f"{ours}{name}.shift"]
    for part in ("weight", "bias"):
        three = [own[f"{ours}att.W_{which}.{part}"] for which in ("query", "key", "value")]
        joined = torch.cat(three)
        found[f"{theirs}attn.c_attn.{part}"] = joined.T if part == "weight" else joined
    return found


def _tokenizer(run: clsbench.TrainedRun) -> Any:
    """GPT-2's tokenizer of transformers, from the two published files."""
    by_ending = {Path(key).name: path for key, path in run.files.items()}
    vocabulary = decode_json(read_bytes(by_ending["encoder.json"]), dict[str, int])
    lines = by_ending["vocab.bpe"].read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    return GPT2TokenizerFast(vocab=vocabulary, merges=merges, split_special_tokens=True)
