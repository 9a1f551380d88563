from __future__ import annotations

from tools.stand_ins.bpe import train_ranks


def test_train_ranks_merges_the_most_frequent_pair_first() -> None:
    ranks = train_ranks(["abab abab", "abc"], r"\S+", 258)
    assert ranks[b"ab"] == 256
    assert ranks[b"abab"] == 257
    assert [ranks[bytes([byte])] for byte in range(256)] == list(range(256))


def test_train_ranks_without_repeated_pairs_stops() -> None:
    assert len(train_ranks(["ab"], r"\S+", 300)) == 256
