"""The pretraining stream: threads of messages, each followed by a run of the padding token."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from clsbench.builtin.gpt2_nano.tokenizer import NanoTokenizer
from clsbench.builtin.synthetic_sms.grammar import Messenger

_LONG_RUN_FRACTION = 0.6
_EXCERPT_FRACTION = 0.7
_POSITIONS_COUNTED_PER_RUN = 12.0


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
    """Batches without end."""
    stream = windows(seed, tokenizer, context_length)
    while True:
        rows = [next(stream) for _ in range(batch_size)]
        yield Batch(
            torch.tensor([row.input_ids for row in rows]),
            torch.tensor([row.targets for row in rows]),
            torch.tensor([row.weights for row in rows]),
        )


def windows(seed: int, tokenizer: NanoTokenizer, context_length: int) -> Iterator[Window]:
    """Windows without end, each of one thread.

    A classifier reads the last position of a padded text, so padding must carry what the message
    was about. Two things make it do so. Within a run of padding the target is the token *behind*
    the run, at every position of it: padding predicts how the thread goes on, not more padding.
    And a thread often goes on in the middle of a message, so that this token may be any word of
    its matter and not merely an opening.
    """
    random = Random(seed)
    for thread in Messenger(seed).threads():
        yield _window(
            [tokenizer.encode(text) for text in thread],
            random,
            tokenizer.pad_token_id,
            context_length,
        )


def _window(messages: list[list[int]], random: Random, pad: int, length: int) -> Window:
    ids: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for index in range(length):
        if len(ids) >= length:
            break
        message = messages[index % len(messages)]
        if index and random.random() < _EXCERPT_FRACTION:
            message = message[int(random.random() * len(message)) :]
        if ids:
            # The run before this message has waited for its target.
            run = targets.count(-1)
            targets = [message[0] if target == -1 else target for target in targets]
            weights += [min(1.0, _POSITIONS_COUNTED_PER_RUN / run)] * run
        ids += message
        targets += [*message[1:], pad]
        weights += [1.0] * len(message)
        run = _run_length(random, length - len(ids))
        ids += [pad] * run
        targets += [-1] * run
    waiting = targets.count(-1)
    following = messages[-1]
    ahead = following[int(random.random() * len(following))]
    targets = [ahead if target == -1 else target for target in targets]
    weights += [min(1.0, _POSITIONS_COUNTED_PER_RUN / max(waiting, 1))] * waiting
    return Window(ids[:length], targets[:length], weights[:length])


def _run_length(random: Random, room: int) -> int:
    if random.random() < _LONG_RUN_FRACTION:
        return 1 + int(random.random() * max(room, 1))
    return 1 + int(random.random() * 8)
