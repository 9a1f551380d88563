"""The tokenizer of gpt2-nano: a small byte-level BPE as a ``tiktoken.Encoding``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tiktoken

RANKS_FILE = "tokens.txt"

PAD_TOKEN = "<|endoftext|>"

# Digits stand alone, since phone numbers would fill a small vocabulary. There is no look-around,
# so that any text is matched in linear time; between them the alternatives match every character.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d| ?(?:[^\s\w]|_)+|\s+"


@dataclass(frozen=True)
class NanoTokenizer:
    """Byte-level BPE with one special token, which pads. Any text encodes."""

    encoding: tiktoken.Encoding

    @property
    def pad_token_id(self) -> int:
        """The id of ``<|endoftext|>``."""
        return self.encoding.eot_token

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``; a special token's name in it is read as ordinary text."""
        return self.encoding.encode_ordinary(text)


def make_encoding(ranks: Mapping[bytes, int]) -> tiktoken.Encoding:
    """The encoding of ``ranks`` with the padding token behind them."""
    return tiktoken.Encoding(
        "gpt2-nano",
        pat_str=PATTERN,
        mergeable_ranks=dict(ranks),
        special_tokens={PAD_TOKEN: len(ranks)},
    )


def save_ranks(ranks: Mapping[bytes, int], folder: Path) -> None:
    """Write ``ranks`` one token a line, in base64 since a token may be part of a character."""
    lines = (base64.b64encode(token).decode() for token in sorted(ranks, key=ranks.__getitem__))
    (folder / RANKS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def load_tokenizer(folder: Path) -> NanoTokenizer:
    """The tokenizer whose ranks :func:`save_ranks` wrote."""
    lines = (folder / RANKS_FILE).read_text(encoding="ascii").splitlines()
    return NanoTokenizer(
        make_encoding({base64.b64decode(line): rank for rank, line in enumerate(lines)})
    )
