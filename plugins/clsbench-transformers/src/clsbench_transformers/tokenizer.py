"""The tokenizer of a model, with the special tokens that the model expects around a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

_ANY_TEXT = "a"
"""A text to find out which special tokens stand around texts."""


class ModelTokenizer:
    """Encodes a text with the special tokens around it; names of special tokens are plain text.

    ``ending`` holds the ids of the special tokens behind each text, which truncation keeps, and
    ``between`` those between the texts of a pair; empty for tokenizers without a separator token.
    ``type_separator``: the id behind whose first occurrence the token type is 1, as in BERT;
    ``None`` if it is always 0.
    """

    def __init__(self, tokenizer: Any, embeddings: int) -> None:
        """``tokenizer`` is one of transformers that is backed by tokenizers; ``embeddings`` is the
        number of ids that the model knows."""
        own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        own.no_truncation()
        own.no_padding()
        own.encode_special_tokens = True
        self._tokenizer = own
        found = own.encode(_ANY_TEXT)
        text = [place for place, special in enumerate(found.special_tokens_mask) if not special]
        self._beginning = tuple(found.ids[: text[0]])
        self.ending = tuple(found.ids[text[-1] + 1 :])
        self.between, self.type_separator = self._of_pairs(tokenizer.sep_token_id)
        added = own.get_added_tokens_decoder().items()
        special = {*tokenizer.all_special_ids, *(n for n, token in added if token.special)}
        self._special = frozenset(special - {tokenizer.unk_token_id})
        # Padding is masked or stands behind the text, so any id serves.
        ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad_token_id: int = next(n for n in ids if n is not None and n < embeddings)

    def _of_pairs(self, separator: int | None) -> tuple[tuple[int, ...], int | None]:
        """``between`` and ``type_separator``; a pair in another form than this class encodes has
        none."""
        pair = self._tokenizer.encode(_ANY_TEXT, _ANY_TEXT)
        text = [place for place, special in enumerate(pair.special_tokens_mask) if not special]
        first, second = text[len(text) // 2 - 1], text[len(text) // 2]
        before, behind = tuple(pair.ids[: text[0]]), tuple(pair.ids[text[-1] + 1 :])
        between = tuple(pair.ids[first + 1 : second])
        if separator not in between or (before, behind) != (self._beginning, self.ending):
            return (), None
        types = pair.type_ids
        if not any(types):
            return between, None
        if len(between) == 1 and types == [0] * second + [1] * (len(types) - second):
            return between, between[0]
        return (), None

    def largest_id(self) -> int:
        """The largest id that texts may have."""
        texts = set(self._tokenizer.get_vocab().values()) - self._special
        return max((*texts, *self._beginning, *self.ending))

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``, with the special tokens around it."""
        well_formed = text.encode("utf-8", "replace").decode("utf-8")  # no lone surrogates
        return [*self._beginning, *self._ordinary(well_formed), *self.ending]

    def _ordinary(self, text: str) -> Iterable[int]:
        """The ids of ``text``, none of them special.

        Some vocabularies hold the names of special tokens as ordinary pieces. Such a name is cut
        in the middle, and its halves are encoded apart.
        """
        found = self._tokenizer.encode(text, add_special_tokens=False)
        for token, (start, end) in zip(found.ids, found.offsets, strict=True):
            if token in self._special:
                middle = (start + end + 1) // 2
                if not start < middle < end:
                    return [each for each in found.ids if each not in self._special]
                return [*self._ordinary(text[:middle]), *self._ordinary(text[middle:])]
        return list(found.ids)
