"""GPT-2's byte-level BPE as a ``tiktoken.Encoding``, built from its two published files."""

from __future__ import annotations

from pathlib import Path

import tiktoken

from clsbench import AssetError
from clsbench.data import DecodingError, decode_json, read_bytes

END_OF_TEXT_ID = 50256

_SPLIT_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""GPT-2's pattern, as written in tiktoken.

Source: tiktoken, ``openai_public.r50k_pat_str``.
"""


class GPT2Tokenizer:
    """Converts any text to GPT-2's token ids; ``<
    endoftext
    >`` in a text is ordinary text."""

    pad_token_id = END_OF_TEXT_ID

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.encoding = encoding

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``, without added tokens or truncation."""
        return self.encoding.encode_ordinary(text)


def load_tokenizer(merges: Path, ids: Path) -> GPT2Tokenizer:
    """Build the tokenizer from ``vocab.bpe`` and ``encoder.json``.

    tiktoken's own reader of these files is not used: it keeps a copy of what it read in a cache
    outside our control, and would prefer that copy to a file that has changed since.

    Raises:
        AssetError: the two files do not hold GPT-2's vocabulary.
    """
    try:
        ranks = _ranks(merges.read_text(encoding="utf-8"))
        published = decode_json(read_bytes(ids), dict[str, int])
        alphabet = _alphabet()
        by_bytes = {bytes(map(alphabet.__getitem__, text)): n for text, n in published.items()}
    except (OSError, ValueError, KeyError, DecodingError) as error:
        raise AssetError(
            f"the GPT-2 vocabulary in {merges} and {ids} cannot be read: "
            f"{type(error).__name__}: {error}; delete both and fetch them again"
        ) from error
    by_bytes.pop(b"<|endoftext|>", None)
    if ranks != by_bytes or len(ranks) != END_OF_TEXT_ID:
        raise AssetError(
            f"the merges in {merges} ({len(ranks)} tokens) and the ids in {ids} ({len(by_bytes)} "
            f"tokens) are not GPT-2's {END_OF_TEXT_ID}; delete both and fetch them again"
        )
    return GPT2Tokenizer(
        tiktoken.Encoding(
            "gpt2",
            pat_str=_SPLIT_PATTERN,
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": END_OF_TEXT_ID},
        )
    )


def _alphabet() -> dict[str, int]:
    """The byte that each character of the files stands for, in the order of the token ids.

    Printable Latin-1 stands for itself, the other bytes for the characters from 256 on.
    """
    printable = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def _ranks(merges: str) -> dict[bytes, int]:
    """The token ids: single bytes first, then one token for each merge, a line each."""
    alphabet = _alphabet()
    tokens = [bytes([byte]) for byte in alphabet.values()]
    for line in merges.split("\n")[1:-1]:  # the first line is a version, the last is empty
        first, second = line.split(" ")
        tokens.append(bytes(alphabet[character] for character in first + second))
    return {token: n for n, token in enumerate(tokens)}
