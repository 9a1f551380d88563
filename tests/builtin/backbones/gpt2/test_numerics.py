"""The book's numerical checks of released weights, run on random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpt2_checkpoints import language_model, some_ids

from clsbench.builtin.backbones.gpt2 import GPT2, MERGES, TOKEN_IDS
from clsbench.builtin.backbones.gpt2.module import GPT2Module, hidden_states
from clsbench.builtin.backbones.gpt2.numerics import (
    check_small,
    greedy_continuation,
    untrained_head_logits,
)
from clsbench.builtin.backbones.gpt2.shape import GPT2Shape
from clsbench.builtin.backbones.gpt2.tokenizer import GPT2Tokenizer

SHAPE = GPT2Shape(width=16, blocks=2, attention_heads=2, context_length=32)


@pytest.fixture(scope="module")
def tokenizer(assets_dir: Path) -> GPT2Tokenizer:
    made = GPT2(weights="random").tokenizer(
        {a.key: assets_dir / a.key for a in (MERGES, TOKEN_IDS)}
    )
    assert isinstance(made, GPT2Tokenizer)
    return made


def test_greedy_continuation_equals_transformers(tokenizer: GPT2Tokenizer, tmp_path: Path) -> None:
    oracle = language_model(SHAPE)
    oracle.save_pretrained(tmp_path)
    module = GPT2(weights=str(tmp_path)).build({})
    assert isinstance(module, GPT2Module)
    prompt = tokenizer.encode("Every effort moves you")
    generated = oracle.generate(
        torch.tensor([prompt]), max_new_tokens=15, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    expected = tokenizer.encoding.decode(generated[0, len(prompt) :].tolist())
    assert greedy_continuation(module, tokenizer, "Every effort moves you", 15) == expected


def test_untrained_head_logits_equal_those_of_a_seeded_head() -> None:
    torch.manual_seed(3)
    module = GPT2Module(SHAPE)
    ids = some_ids(SHAPE, texts=1, length=7)
    before = torch.get_rng_state()
    logits = untrained_head_logits(module, ids[0].tolist(), seed=123)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    head = torch.nn.Linear(SHAPE.width, 2)
    with torch.no_grad():
        torch.testing.assert_close(logits, head(hidden_states(module, ids))[0, -1])


def test_check_small_random_weights_disagree_and_tokens_agree(tokenizer: GPT2Tokenizer) -> None:
    continuation, ids, logits = check_small(GPT2Module(SHAPE), tokenizer)
    assert not continuation.agrees
    assert continuation.expected.startswith("' forward.\\n\\nThe first step")
    assert ids.agrees
    assert not logits.agrees
    assert logits.expected == "[-3.5983, 3.9902] ± 0.01"
    assert logits.measured.startswith("[")
