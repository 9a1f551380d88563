"""Training of a byte-level byte-pair encoding, in the form that tiktoken reads."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

Pair = tuple[bytes, bytes]


def train_ranks(texts: Iterable[str], pattern: str, tokens: int) -> dict[bytes, int]:
    """The ``tokens`` mergeable ranks learned from ``texts``: 256 bytes, then merges by frequency.

    Ties go to the pair that sorts first, so the outcome depends on the texts alone.
    """
    pieces = Counter(piece for text in texts for piece in re.findall(pattern, text))
    words = [[bytes([byte]) for byte in piece.encode()] for piece in pieces]
    counts = list(pieces.values())
    ranks = {bytes([byte]): byte for byte in range(256)}

    pair_counts: Counter[Pair] = Counter()
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pair_counts[pair] += counts[index]
            words_with[pair].add(index)

    while len(ranks) < tokens and pair_counts:
        best = max(pair_counts, key=lambda pair: (pair_counts[pair], pair))
        if pair_counts[best] < 2:
            break
        # Two ways to the same bytes are one token; the merge is carried out all the same.
        ranks.setdefault(best[0] + best[1], len(ranks))
        for index in words_with.pop(best):
            word = words[index]
            for pair in itertools.pairwise(word):
                pair_counts[pair] -= counts[index]
            words[index] = word = _merged(word, best)
            for pair in itertools.pairwise(word):
                pair_counts[pair] += counts[index]
                words_with[pair].add(index)
        pair_counts = +pair_counts
    return ranks


def _merged(word: list[bytes], pair: Pair) -> list[bytes]:
    merged: list[bytes] = []
    for part in word:
        if merged and merged[-1] == pair[0] and part == pair[1]:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
