"""The pretraining stream: threads of messages, each followed by a run of the padding token."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import torch
from tools.stand_ins.grammar import Messenger
from torch import Tensor

from clsbench.builtin.backbones.gpt2_nano.tokenizer import NanoTokenizer

_LONG_RUN_FRACTION = 0.4
_EXCERPT_FRACTION = 0.7
_POSITIONS_COUNTED_PER_RUN = 4


class Batch(NamedTuple):
    """Windows of the stream, each starting with a message.

    ``input_ids`` and ``targets`` (B, T) int64; ``weights`` (B, T) float32, what each position
    counts in the loss.
    """

    input_ids: Tensor
    targets: Tensor
    weights: Tensor


class Window(NamedTuple):
    """One window, position by position."""

    input_ids: list[int]
    targets: list[int]
    weights: list[float]


def batches(
    seed: int, tokenizer: NanoTokenizer, batch_size: int, context_length: int
) -> Iterator[Batch]:
    """Endless batches."""
    stream = windows(seed, tokenizer, context_length)
    while True:
        rows = [next(stream) for _ in range(batch_size)]
        yield Batch(
            torch.tensor([row.input_ids for row in rows]),
            torch.tensor([row.targets for row in rows]),
            torch.tensor([row.weights for row in rows]),
        )


def windows(seed: int, tokenizer: NanoTokenizer, context_length: int) -> Iterator[Window]:
    """Endless windows, each of one thread.

    A classifier reads the last position of a padded text, so padding must represent the message.
    For this, the target at every position of a run of padding is the token *after* the run:
    padding predicts the next message, not more padding. The next message is often an excerpt from
    its middle, so that this token may be any word of the subject and not only an opening.
    """
    random = Random(seed)
    for thread in Messenger(seed).threads():
        messages = [tokenizer.encode(text) for text in thread]
        yield _window(messages, random, tokenizer.pad_token_id, context_length)


def _window(messages: Sequence[list[int]], random: Random, pad: int, length: int) -> Window:
    ids = list(messages[0])
    upcoming = itertools.cycle([*messages[1:], messages[0]])
    while len(ids) <= length:  # one more message, so that every position has a target
        ids += [pad] * _run_length(random, length - len(ids))
        message = next(upcoming)
        if random.random() < _EXCERPT_FRACTION:
            message = message[int(random.random() * len(message)) :]
        ids += message

    targets: list[int] = []
    following = following_real = ids[-1]
    for token in reversed(ids):
        targets.append(following_real if token == pad else following)
        following = token
        following_real = following_real if token == pad else token
    targets.reverse()

    weights: list[float] = []
    for is_padding, run in itertools.groupby(ids, pad.__eq__):
        positions = len(list(run))
        counted = min(positions, _POSITIONS_COUNTED_PER_RUN) if is_padding else positions
        weights += [counted / positions] * positions
    return Window(ids[:length], targets[:length], weights[:length])


def _run_length(random: Random, room: int) -> int:
    if random.random() < _LONG_RUN_FRACTION:
        return 1 + int(random.random() * room)
    return 1 + int(random.random() * 8)
