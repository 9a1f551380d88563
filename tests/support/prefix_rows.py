"""Rows of a small prefix."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from fast_and_plain import CPU, Outcome, Setup, random_splits, train
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2
from torch import Tensor

import clsbench
from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.prefix import PrefixStore, Start
from clsbench.fastpath.rows import DistinctRows
from clsbench.schema.training import TrainSettings

LENGTHS = [9, 4, 1, 0, 9, 5, 5, 7, 3, 8]


FEATURES = 12


POOLED_CUT = 6
"""From this cut on, a row of :class:`Prefix` is one vector."""


class Prefix:
    """A prefix with distinct values for each row and cut, which records the calls."""

    def __init__(
        self, rows: DistinctRows, features: int = FEATURES, device: torch.device = CPU
    ) -> None:
        self.rows = rows
        self.device = device
        self.features = features
        self.asked: list[tuple[list[int], tuple[int, ...]]] = []

    def __call__(
        self, slots: Tensor, cuts: Sequence[int], start: Start | None
    ) -> Mapping[int, Sequence[Tensor]]:
        self.asked.append((slots.tolist(), tuple(cuts)))
        return {cut: [self.row(slot, cut) for slot in slots.tolist()] for cut in cuts}

    def row(self, slot: int, cut: int) -> Tensor:
        shape: tuple[int, ...] = (int(self.rows.widths[slot]), self.features)
        generator = torch.Generator().manual_seed(1000 * cut + slot)
        row = torch.randn(shape, generator=generator, dtype=torch.float64).to(self.device)
        return row[0] if cut >= POOLED_CUT else row

    def computed(self, cut: int) -> int:
        return sum(len(slots) for slots, cuts in self.asked if cut in cuts)


def rows_of(pooling: clsbench.Pooling | None = None, unpadded: bool = False) -> DistinctRows:
    lengths = sorted(LENGTHS)  # short rows first
    splits = random_splits(1, lengths, WIDTH_TOKENS, VOCABULARY).by_name()
    return DistinctRows(splits, pooling or LastToken(), unpadded)


def fill(
    store: PrefixStore,
    *cuts: int,
    keys: Mapping[int, PrefixKey] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    store.fill({cut: (keys or {}).get(cut) for cut in cuts}, {}, True, progress)


def assert_all_there(store: PrefixStore, compute: Prefix, cut: int) -> None:
    for slot, row in enumerate(store.at(cut, torch.arange(len(compute.rows)))):
        assert torch.equal(row.cpu(), compute.row(slot, cut).cpu())


def key_of(text: str) -> PrefixKey:
    return PrefixKey(hashlib.sha256(text.encode()).hexdigest(), {})


def setup(
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling | None = None,
    device: torch.device = CPU,
) -> Setup:
    settings = TrainSettings(epochs=3, batch_size=3, eval_every=2, eval_batches=2)
    pooling = pooling or LastToken()
    return Setup(TinyGPT2(), pooling, Linear(), freezing, None, settings, device=device)


def run(what: Setup, room: Room | None) -> Outcome:
    splits = random_splits(1, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    return train(what, splits, torch.float64, room)
