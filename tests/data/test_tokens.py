"""Padding and truncation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clsbench.components.values import Split, Splits
from clsbench.data.tokens import TokenizedSplits, pad_rows, tokenize_splits
from clsbench.errors import UsageError

PAD = 99


class OneTokenPerCharacter:
    """A tokenizer with predictable ids."""

    pad_token_id = PAD

    def encode(self, text: str) -> list[int]:
        return [ord(character) % 90 for character in text]


def split(name: str, *texts: str) -> Split:
    n = len(texts)
    return Split(
        name=name, rows=tuple(range(n)), texts=texts, labels=tuple(i % 2 for i in range(n))
    )


def test_take_keeps_the_given_order() -> None:
    train = tokenized(10, longest="abcdef").train
    taken = train.take([1, 0, 1])
    assert len(taken) == 3
    assert torch.equal(taken.input_ids, train.input_ids[[1, 0, 1]])
    assert taken.lengths.tolist() == [6, 2, 6]
    assert (taken.padded, taken.truncated) == (train.padded, 0)


class WithEnding(OneTokenPerCharacter):
    """Puts two special tokens behind every text."""

    ending = (97, 98)

    def encode(self, text: str) -> list[int]:
        return [*super().encode(text), *self.ending]


@pytest.mark.parametrize(
    ("length", "expected"),
    [(5, [7, 8, 97, 98, PAD]), (4, [7, 8, 97, 98]), (3, [7, 97, 98]), (2, [7, 8])],
)
def test_tokenize_splits_truncated_text_keeps_its_ending(length: int, expected: list[int]) -> None:
    splits = Splits(
        class_names=("a", "b"),
        train=split("train", "ab", ""),
        validation=split("validation", "ab"),
        test=split("test", "ab"),
    )
    data = tokenize_splits(splits, WithEnding(), length, 10)
    assert data.train.input_ids[0].tolist() == expected
    assert data.train.lengths[0] == min(length, 4)
    assert data.train.truncated == int(length < 4)


def tokenized(padding: int | str, context: int = 10, longest: str = "abcde") -> TokenizedSplits:
    splits = Splits(
        class_names=("a", "b"),
        train=split("train", "ab", longest),
        validation=split("validation", "abcdefg", "a"),
        test=split("test", "", "abc"),
    )
    return tokenize_splits(splits, OneTokenPerCharacter(), padding, context)


def test_tokenize_splits_longest_train_truncates_other_splits() -> None:
    data = tokenized("longest-train")
    assert data.max_length == 5
    assert data.validation.truncated == 1
    assert data.validation.lengths.tolist() == [5, 1]
    assert data.test.lengths.tolist() == [0, 3]
    assert data.padding_fraction() == pytest.approx(3 / 10)


def test_tokenize_splits_longest_train_is_limited_to_the_context() -> None:
    data = tokenized("longest-train", longest="x" * 40)
    assert data.max_length == 10
    assert data.train.truncated == 1


def test_tokenize_splits_of_a_subset_has_the_width_of_the_whole_training_split() -> None:
    splits = Splits(
        class_names=("a", "b"),
        train=split("train", "ab"),
        validation=split("validation", "abcdefg"),
        test=split("test", "abc"),
    )
    texts = ("ab", "abcdef")
    data = tokenize_splits(splits, OneTokenPerCharacter(), "longest-train", 10, texts)
    assert data.max_length == 6
    assert (data.train.truncated, data.validation.truncated) == (0, 1)
    assert tokenize_splits(splits, OneTokenPerCharacter(), "longest-train", 10).max_length == 2


@pytest.mark.parametrize(("padding", "expected"), [("context", 10), (3, 3)])
def test_tokenize_splits_context_or_number_sets_the_length(
    padding: int | str, expected: int
) -> None:
    data = tokenized(padding)
    assert data.max_length == expected
    assert data.train.input_ids.shape == (2, expected)


def test_tokenize_splits_padding_none_keeps_text_lengths() -> None:
    data = tokenized("none")
    assert data.max_length == 7
    assert data.padding_fraction() == 0
    assert [data.train.batch([i]).input_ids.shape[1] for i in (0, 1)] == [2, 5]
    assert data.test.batch([0]).input_ids.tolist() == [[PAD]]  # an empty text still has a row


def test_tokenize_splits_padding_beyond_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data.padding = 11 is longer than .* 10 tokens"):
        tokenized(11)


@given(
    st.lists(st.lists(st.integers(0, 90), max_size=12), min_size=1, max_size=8), st.integers(1, 9)
)
def test_pad_rows_fills_up_with_padding(encoded: list[list[int]], length: int) -> None:
    input_ids, lengths = pad_rows(encoded, length, PAD)
    assert input_ids.dtype == lengths.dtype == torch.int64
    for row, n, ids in zip(input_ids.tolist(), lengths.tolist(), encoded, strict=True):
        assert row == (ids + [PAD] * length)[:length]
        assert n == min(len(ids), length)
