"""Encode texts and text pairs for a model, and truncate them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from msgspec.structs import replace

from clsbench.components.tokenizers import EndingTokenizer, PairTokenizer, Tokenizer
from clsbench.components.values import Splits, Text
from clsbench.errors import PluginError, UsageError

PAIR_SEPARATOR = "\n"
"""Stands between the texts of a pair if ``data.pair_separator`` is not set."""


class Encoded(NamedTuple):
    """The token ids of a text with special tokens; for a pair, also the number of tokens of each
    text."""

    ids: list[int]
    pair: tuple[int, int] | None = None


class TextEncoder:
    """Encodes texts with a tokenizer.

    The texts of a pair are tokenized each by itself. Between them stand the tokenizer's special
    tokens for that (``between``), or else the tokens of the separator.
    """

    def __init__(self, tokenizer: Tokenizer, pair_separator: str | None) -> None:
        self.pad_token_id = tokenizer.pad_token_id
        self._tokenizer = tokenizer
        self._separator = PAIR_SEPARATOR if pair_separator is None else pair_separator
        self._ending = list(tokenizer.ending) if isinstance(tokenizer, EndingTokenizer) else []

    def encode(self, text: Text) -> Encoded:
        """The ids of a text or pair, not truncated.

        Raises:
            UsageError: the texts of a pair cannot be separated.
            PluginError: the tokenizer does not allow pairs.
        """
        if isinstance(text, str):
            return Encoded(self._tokenizer.encode(text))
        first, second = (self._content(each) for each in text)
        ids = [*self._beginning, *first, *self._between, *second, *self._ending]
        return Encoded(ids, (len(first), len(second)))

    def truncated(self, encoded: Encoded, length: int) -> list[int]:
        """At most ``length`` ids: a text loses its end, and of a pair the longer text loses more.

        Special tokens and the separator of a pair are kept. Those behind a text are kept if there
        is room for other tokens.

        Raises:
            UsageError: a pair has no room for a token of each text.
        """
        ids, pair = encoded
        if len(ids) <= length:
            return ids
        if pair is None:
            ending = self._ending if length > len(self._ending) else []
            return [*ids[: length - len(ending)], *ending]
        others = len(ids) - sum(pair)
        if length < others + 2:
            raise UsageError(
                f"text pairs are truncated to {length} tokens, but at least {others + 2} are "
                f"needed: {others} for special tokens and the separator, and one for each text "
                "(data.padding)"
            )
        first, second = longest_first(*pair, length - others)
        start = len(self._beginning)
        behind = start + pair[0]
        return [
            *ids[: start + first],
            *ids[behind : behind + len(self._between) + second],
            *self._ending,
        ]

    @cached_property
    def _beginning(self) -> list[int]:
        around = self._tokenizer.encode("")
        return around[: len(around) - len(self._ending)]

    @cached_property
    def _between(self) -> list[int]:
        tokenizer = self._tokenizer
        if isinstance(tokenizer, PairTokenizer) and tokenizer.between:
            return list(tokenizer.between)
        separator = self._content(self._separator)
        if not separator:
            raise UsageError(
                f"data.pair_separator: the backbone's tokenizer has no tokens for "
                f"{self._separator!r}, so nothing would stand between the texts of a pair; choose "
                "another, such as --set data.pair_separator='|'"
            )
        return separator

    def _content(self, text: str) -> list[int]:
        """The ids of ``text`` without the special tokens around it."""
        ids = self._tokenizer.encode(text)
        start, end = len(self._beginning), len(ids) - len(self._ending)
        if ids[:start] != self._beginning or ids[end:] != self._ending or end < start:
            raise PluginError(
                f"the backbone's tokenizer cannot encode text pairs: encode('') returns "
                f"{self._tokenizer.encode('')}, but encode({text[:40]!r}) is not between these "
                "special tokens; a tokenizer that puts special tokens behind a text names them in "
                "its attribute ending"
            )
        return ids[start:end]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """The numbers of tokens that two texts keep in ``room``, which is less than their sum.

    The longer text is cut to the length of the other, then both alike.

    Source: ``truncate_encodings`` of the library tokenizers, strategy ``LongestFirst``.
    """
    half = room // 2
    if first <= second:
        kept = min(first, half)
        return kept, room - kept
    kept = min(second, half)
    return room - kept, kept


def joined(texts: Sequence[Text], separator: str | None) -> list[str]:
    """Pairs as single texts, for classifiers that read text; single texts are returned as they are.

    ``separator`` is ``data.pair_separator``.
    """
    between = PAIR_SEPARATOR if separator is None else separator
    return [text if isinstance(text, str) else text.joined(between) for text in texts]


def with_joined_pairs(splits: Splits, separator: str | None) -> Splits:
    """The splits with :func:`joined` texts."""
    parts = {
        split.name: replace(split, texts=tuple(joined(split.texts, separator)))
        for split in splits.all()
    }
    return replace(splits, **parts)


def check_kind(texts: Sequence[Text], pairs: bool) -> None:
    """Check that texts are of the kind on which a classifier was trained.

    Raises:
        UsageError: it was trained on text pairs and a text is single, or the reverse.
    """
    wrong = next((n for n, text in enumerate(texts, 1) if isinstance(text, str) == pairs), None)
    if wrong is not None and pairs:
        raise UsageError(
            f"the run was trained on text pairs, but text {wrong} has no second text; give one to "
            "each text: --pair TEXT for each TEXT, --pair-column NAME for --csv, or a tab between "
            "both on each line of stdin"
        )
    if wrong is not None:
        raise UsageError(
            f"the run was trained on single texts, but text {wrong} is a pair; leave out --pair "
            "and --pair-column"
        )
