"""What a tokenizer is. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Tokenizer(Protocol):
    """Turns text into token ids. Must accept any text, special-token look-alikes included."""

    @property
    def pad_token_id(self) -> int:
        """The id of the padding after a text."""
        ...

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``, with the special tokens that the model expects around it.

        Not truncated. Names of special tokens in ``text`` are ordinary text.
        """
        ...


@runtime_checkable
class EndingTokenizer(Tokenizer, Protocol):
    """A tokenizer that puts special tokens behind each text, which truncation keeps."""

    @property
    def ending(self) -> Sequence[int]:
        """The ids with which everything that :meth:`encode` returns ends."""
        ...


@runtime_checkable
class PairTokenizer(EndingTokenizer, Protocol):
    """A tokenizer with special tokens that the model expects between the texts of a pair.

    A pair is the special tokens before a text, the tokens of the first text, ``between``, those of
    the second, and ``ending``. Without ``between``, the tokens of ``data.pair_separator`` stand
    there.
    """

    @property
    def between(self) -> Sequence[int]:
        """The ids of the special tokens; empty if there are none."""
        ...
