"""Convert texts to rows of token ids, padded and truncated to one length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clsbench.components.labels import label_array
from clsbench.components.tokenizers import Tokenizer
from clsbench.components.values import Split, Splits, Text
from clsbench.data.encoding import Encoded, TextEncoder
from clsbench.errors import UsageError


class Batch(NamedTuple):
    """``input_ids`` (B, T), ``lengths`` (B,) in real tokens, ``labels`` (B,), all int64.

    For multi-label data, labels are (B, C) bool.
    """

    input_ids: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True)
class TokenRows:
    """The token rows of one split: ``input_ids`` (N, T), ``lengths`` (N,), ``labels`` (N,), int64.

    For multi-label data, labels are (N, C) bool.
    ``truncated`` counts the texts that lost their end; ``padded`` says whether a batch keeps the
    full width or only that of its longest text.
    """

    input_ids: Tensor
    lengths: Tensor
    labels: Tensor
    truncated: int
    padded: bool

    def batch(self, indices: Sequence[int]) -> Batch:
        """The rows at ``indices``, in that order."""
        index = torch.tensor(indices, dtype=torch.int64)
        input_ids, lengths = self.input_ids[index], self.lengths[index]
        if not self.padded:
            input_ids = input_ids[:, : max(int(lengths.max()), 1)]
        return Batch(input_ids, lengths, self.labels[index])

    def take(self, indices: Sequence[int]) -> TokenRows:
        """The rows at ``indices`` as rows of their own, in that order."""
        index = torch.tensor(indices, dtype=torch.int64)
        tensors = (self.input_ids[index], self.lengths[index], self.labels[index])
        return TokenRows(*tensors, truncated=0, padded=self.padded)

    def __len__(self) -> int:
        """The number of texts, N."""
        return len(self.labels)


class TokenizedSplits(NamedTuple):
    """The three splits as token rows; ``max_length`` is the longest row fed to the model."""

    train: TokenRows
    validation: TokenRows
    test: TokenRows
    max_length: int

    def by_name(self) -> dict[str, TokenRows]:
        """The splits in their usual order."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def padding_fraction(self) -> float:
        """The fraction of the training split's positions that is padding."""
        if not self.train.padded:
            return 0.0
        return 1 - self.train.lengths.sum().item() / self.train.input_ids.numel()


def tokenize_splits(
    splits: Splits,
    tokenizer: Tokenizer,
    padding: int | str,
    context_length: int,
    training_texts: Sequence[Text] | None = None,
    pair_separator: str | None = None,
) -> TokenizedSplits:
    """Encode all texts; pad and cut them as ``data.padding`` says, never beyond the context.

    ``longest-train`` is the longest of ``training_texts``, by default those of the splits. If
    ``splits`` has a part of the training split, these are all of it, so that validation and test
    texts are the same for every size. ``pair_separator`` is ``data.pair_separator``.

    Raises:
        UsageError: the padding asked for is longer than the backbone's context, or too short for
            text pairs; or there is a separator of pairs, but the texts are single.
    """
    if pair_separator is not None and any(isinstance(text, str) for text in splits.train.texts):
        raise UsageError(
            f"data.pair_separator = {pair_separator!r} requires text pairs, but the data set has "
            "single texts; leave it out, or name the column of the second texts, such as "
            "csv:path=…,text_pair=COLUMN"
        )
    encoder = TextEncoder(tokenizer, pair_separator)
    encoded = [[encoder.encode(text) for text in split.texts] for split in splits.all()]
    if isinstance(padding, int):
        if padding > context_length:
            raise UsageError(
                f"data.padding = {padding} is longer than the backbone's context of "
                f"{context_length} tokens"
            )
        length = padding
    elif padding == "longest-train":
        longest = max(len(each.ids) for each in encoded[0])
        if training_texts is not None and len(training_texts) > len(splits.train):
            longest = max(len(encoder.encode(text).ids) for text in training_texts)
        length = min(max(longest, 1), context_length)
    else:
        length = context_length
    padded = padding != "none"
    classes = len(splits.class_names) if splits.multi_label else None
    train, validation, test = (
        token_rows(each, split, length, encoder, padded, classes)
        for each, split in zip(encoded, splits.all(), strict=True)
    )
    if not padded:
        length = max(1, *(int(rows.lengths.max()) for rows in (train, validation, test)))
    return TokenizedSplits(train, validation, test, max_length=length)


def token_rows(
    encoded: Sequence[Encoded],
    split: Split,
    length: int,
    encoder: TextEncoder,
    padded: bool,
    classes: int | None = None,
) -> TokenRows:
    """Right-pad and truncate the encoded texts of a split to ``length`` tokens."""
    fitting = [encoder.truncated(each, length) for each in encoded]
    input_ids, lengths = pad_rows(fitting, length, encoder.pad_token_id)
    return TokenRows(
        input_ids=input_ids,
        lengths=lengths,
        labels=torch.from_numpy(label_array(split.labels, classes)),
        truncated=sum(len(each.ids) > length for each in encoded),
        padded=padded,
    )


def pad_rows(
    encoded: Sequence[Sequence[int]], length: int, pad_token_id: int
) -> tuple[Tensor, Tensor]:
    """Rows (N, ``length``) and real lengths (N,), int64; longer ones are cut."""
    input_ids = torch.full((len(encoded), length), pad_token_id, dtype=torch.int64)
    for row, ids in zip(input_ids, encoded, strict=True):
        kept = ids[:length]
        row[: len(kept)] = torch.tensor(kept, dtype=torch.int64)
    lengths = torch.tensor([min(len(ids), length) for ids in encoded], dtype=torch.int64)
    return input_ids, lengths


def row_keys(rows: TokenRows) -> list[str]:
    """A key for each text: equal for texts with the same token ids and length."""
    keys = []
    for input_ids, length in zip(rows.input_ids, rows.lengths.tolist(), strict=True):
        content = length.to_bytes(8, "little") + input_ids.numpy().tobytes()
        keys.append(hashlib.sha256(content).hexdigest())
    return keys
