"""Text pairs: how they are encoded and truncated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.components.values import Split, Splits, TextPair
from clsbench.data.encoding import TextEncoder, check_kind, joined, longest_first
from clsbench.data.tokens import tokenize_splits
from clsbench.errors import PluginError, UsageError

START, SEPARATOR, END = 200, 201, 202


class Letters:
    """One token for each character, without special tokens."""

    pad_token_id = 0

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text if character != "\t"]


class Around(Letters):
    """Special tokens before and behind each text."""

    ending: tuple[int, ...] = (END,)

    def encode(self, text: str) -> list[int]:
        return [START, *super().encode(text), END]


class OfPairs(Around):
    """Two special tokens between the texts of a pair."""

    between = (END, SEPARATOR)


class Undeclared(Around):
    """Does not name the special token behind each text."""

    ending = ()


A, B = ord("a"), ord("b")


@pytest.mark.parametrize(
    ("tokenizer", "separator", "expected"),
    [
        (Letters(), None, [A, A, 10, B]),
        (Letters(), " |", [A, A, 32, 124, B]),
        (Around(), None, [START, A, A, 10, B, END]),
        (OfPairs(), "unused", [START, A, A, END, SEPARATOR, B, END]),
    ],
)
def test_encode_pair_has_the_separator_between_the_texts(
    tokenizer: Letters, separator: str | None, expected: list[int]
) -> None:
    encoder = TextEncoder(tokenizer, separator)
    encoded = encoder.encode(TextPair("aa", "b"))
    assert encoded == (expected, (2, 1))
    assert encoder.truncated(encoded, 50) == expected


def test_encode_separator_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no tokens for '\\t'.*data.pair_separator='\|'"):
        TextEncoder(Letters(), "\t").encode(TextPair("a", "b"))


def test_encode_pair_with_undeclared_ending_is_refused() -> None:
    with pytest.raises(PluginError, match="its attribute ending"):
        TextEncoder(Undeclared(), None).encode(TextPair("a", "b"))


def test_truncated_pair_keeps_special_tokens_and_separator() -> None:
    encoder = TextEncoder(OfPairs(), None)
    encoded = encoder.encode(TextPair("aaaaa", "bb"))
    assert encoder.truncated(encoded, 8) == [START, A, A, END, SEPARATOR, B, B, END]
    assert encoder.truncated(encoded, 7) == [START, A, A, END, SEPARATOR, B, END]
    with pytest.raises(UsageError, match=r"to 5 tokens, but at least 6 are needed: 4 for special"):
        encoder.truncated(encoded, 5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 80))
def test_longest_first_cuts_the_longer_text_first(first: int, second: int, room: int) -> None:
    room = min(room, max(0, first + second - 1))
    kept = longest_first(first, second, room)
    assert sum(kept) == room
    assert 0 <= kept[0] <= first
    assert 0 <= kept[1] <= second
    if kept[0] < first and kept[1] < second:
        assert abs(kept[0] - kept[1]) <= 1


def pairs(name: str, *texts: TextPair) -> Split:
    n = len(texts)
    return Split(name=name, rows=tuple(range(n)), texts=texts, labels=(0,) * n)


def test_tokenize_splits_pairs_are_truncated_to_the_longest_training_pair() -> None:
    splits = Splits(
        class_names=("a", "b"),
        train=pairs("train", TextPair("ab", "c"), TextPair("a", "bcd")),
        validation=pairs("validation", TextPair("aaaaa", "b")),
        test=pairs("test", TextPair("a", "b")),
    )
    data = tokenize_splits(splits, Letters(), "longest-train", 20, pair_separator="|")
    assert data.max_length == 5
    assert data.validation.input_ids.tolist() == [[A, A, A, ord("|"), B]]
    assert [rows.truncated for rows in data.by_name().values()] == [0, 1, 0]
    assert data.test.lengths.tolist() == [3]
    with pytest.raises(UsageError, match="to 2 tokens"):
        tokenize_splits(splits, Letters(), 2, 20)


def test_tokenize_splits_separator_for_single_texts_is_refused() -> None:
    single = Split(name="train", rows=(0,), texts=("a",), labels=(0,))
    splits = Splits(class_names=("a", "b"), train=single, validation=single, test=single)
    with pytest.raises(UsageError, match=r"data.pair_separator = '\|' requires text pairs"):
        tokenize_splits(splits, Letters(), "longest-train", 20, pair_separator="|")


def test_joined_and_check_kind_distinguish_pairs_from_single_texts() -> None:
    assert joined(["a", TextPair("a", "b")], None) == ["a", "a\nb"]
    assert joined([TextPair("a", "b")], " / ") == ["a / b"]
    check_kind(["a"], pairs=False)
    check_kind([TextPair("a", "b")], pairs=True)
    with pytest.raises(UsageError, match=r"trained on text pairs, but text 2 .* --pair-column"):
        check_kind([TextPair("a", "b"), "a"], pairs=True)
    with pytest.raises(UsageError, match="trained on single texts, but text 1 is a pair"):
        check_kind([TextPair("a", "b")], pairs=False)
