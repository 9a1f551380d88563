"""The book's checks of GPT-2's released weights, repeated on the local files.

Source: *LLMs-from-scratch*, ``ch06/01_main-chapter-code/ch06.ipynb``, sections 6.4 and 6.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from clsbench import NumericalCheck
from clsbench.builtin.backbones.gpt2.module import GPT2Module, hidden_states, language_model_logits
from clsbench.builtin.backbones.gpt2.tokenizer import GPT2Tokenizer

PROMPT = "Every effort moves you"
CONTINUATION = " forward.\n\nThe first step is to understand the importance of your work"
QUESTION = "Do you have time"
QUESTION_IDS = [5211, 345, 423, 640]
QUESTION_LOGITS = (-3.5983, 3.9902)
TOLERANCE = 1e-2
"""The tolerance for logits, which were published with four decimals from another device."""


def check_small(module: GPT2Module, tokenizer: GPT2Tokenizer) -> tuple[NumericalCheck, ...]:
    """Measure the figures that the book prints for the pretrained weights of size small."""
    continuation = greedy_continuation(module, tokenizer, PROMPT, 15)
    ids = tokenizer.encode(QUESTION)
    logits = untrained_head_logits(module, ids, seed=123)
    shown = ", ".join(f"{value:.4f}" for value in QUESTION_LOGITS)
    return (
        NumericalCheck(
            name=f"greedy continuation of {PROMPT!r} by 15 tokens",
            expected=repr(CONTINUATION),
            measured=repr(continuation),
            agrees=continuation == CONTINUATION,
        ),
        NumericalCheck(
            name=f"token ids of {QUESTION!r}",
            expected=str(QUESTION_IDS),
            measured=str(ids),
            agrees=ids == QUESTION_IDS,
        ),
        NumericalCheck(
            name=f"logits of {QUESTION!r} at its last token, head of seed 123 untrained",
            expected=f"[{shown}] ± {TOLERANCE:g}",
            measured="[" + ", ".join(f"{value:.4f}" for value in logits.tolist()) + "]",
            agrees=all(
                math.isclose(value, wanted, rel_tol=0, abs_tol=TOLERANCE)
                for value, wanted in zip(logits.tolist(), QUESTION_LOGITS, strict=True)
            ),
        ),
    )


@torch.no_grad()
def greedy_continuation(
    module: GPT2Module, tokenizer: GPT2Tokenizer, text: str, tokens: int
) -> str:
    """The greedy continuation of ``text`` by the language model."""
    ids = tokenizer.encode(text)
    start = len(ids)
    for _ in range(tokens):
        logits = language_model_logits(module, torch.tensor([ids]))
        ids.append(int(logits[0, -1].argmax()))
    return tokenizer.encoding.decode(ids[start:])


@torch.no_grad()
def untrained_head_logits(module: GPT2Module, ids: list[int], seed: int) -> Tensor:
    """The two logits (2,) at the last token, of an untrained linear head drawn after ``seed``.

    Drawn as by ``nn.Linear``, but from a separate generator.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(2, module.hidden_size)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(module.hidden_size)
    bias = torch.empty(2).uniform_(-bound, bound, generator=generator)
    hidden = hidden_states(module, torch.tensor([ids]))[0, -1]
    return nn.functional.linear(hidden, weight, bias)
