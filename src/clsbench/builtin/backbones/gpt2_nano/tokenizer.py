"""The tokenizer of gpt2-nano: a small byte-level BPE as a ``tiktoken.Encoding``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tiktoken

RANKS_FILE = "tokens.txt"

PAD_TOKEN = "<|endoftext|>"

# Digits are tokens of their own, since phone numbers would fill a small vocabulary. Without
# look-around, any text is matched in linear time. The alternatives match every character.
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
    """The encoding of ``ranks``, followed by the padding token."""
    return tiktoken.Encoding(
        "gpt2-nano",
        pat_str=PATTERN,
        mergeable_ranks=dict(ranks),
        special_tokens={PAD_TOKEN: len(ranks)},
    )


def load_tokenizer(folder: Path) -> NanoTokenizer:
    """The tokenizer with the ranks in ``folder``: one token per line in rank order, in base64."""
    lines = (folder / RANKS_FILE).read_text(encoding="ascii").splitlines()
    return NanoTokenizer(
        make_encoding({base64.b64decode(line): rank for rank, line in enumerate(lines)})
    )
