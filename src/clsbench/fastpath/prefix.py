"""The activations of a frozen prefix: computed once per distinct row, kept where there is room."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from clsbench.fastpath.disk_cache import DiskCache, PrefixKey
from clsbench.fastpath.rows import DistinctRows
from clsbench.record import KeptActivations

Progress = Callable[[int, int], None]
"""Told how many token positions have gone through the prefix, and of how many."""

_SHARD_BYTES = 64 * 2**20
_SAME_FRACTION = 1e-2
"""Beyond rounding, in bf16 too: another computation."""

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """Where rows need not begin at their tokens: a cut, and the activations there of each row."""

    cut: int
    rows: Sequence[Tensor]


class Compute(Protocol):
    """Sends rows through the prefix."""

    def __call__(
        self, slots: Tensor, cuts: Sequence[int], start: Start | None
    ) -> Mapping[int, Sequence[Tensor]]:
        """For each cut the activations there of every row in ``slots`` (B,)."""
        ...


class Room(NamedTuple):
    """Where activations may be kept: so many bytes of memory, and a cache on disk or none."""

    memory_bytes: int
    disk: DiskCache | None


class _Lack(NamedTuple):
    """What rows may have in common: the cuts at which they lack activations, and the one below
    from which to go on (0: their tokens)."""

    cuts: tuple[int, ...]
    start: int


class PrefixStore:
    """Activations by cut and row: in memory within a budget, in memory-mapped files beyond it,
    computed again beyond that."""

    def __init__(self, rows: DistinctRows, compute: Compute, room: Room, batch_tokens: int) -> None:
        self._rows = rows
        self._compute = compute
        self._room = room
        self._batch_tokens = batch_tokens
        # Without a disk, memory may be full long before a shard is.
        small = room.disk is None and room.memory_bytes < 4 * _SHARD_BYTES
        self._portion_bytes = room.memory_bytes // 4 if small else _SHARD_BYTES
        self._kept: dict[int, list[Tensor | None]] = {}
        self._memory_bytes: dict[int, int] = {}
        self._most_memory_bytes = self._disk_bytes = 0
        self._computed: set[int] = set()
        self._found: set[int] = set()
        self._continued: set[int] = set()
        self._recomputed = 0

    def fill(
        self,
        keys: Mapping[int, PrefixKey | None],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        mixed_lengths: bool,
        progress: Progress,
    ) -> None:
        """Have the activations at every cut in ``keys``, computing them in one pass.

        A cut with a key is looked up in the cache on disk and kept there for later runs. Rows go on
        from a cut ``below`` where that is kept, by this run or (if it has a key) an earlier one.
        Once there is no room at all any more, the rest is left to be computed when it is asked for.
        """
        for cut, key in keys.items():
            self._kept[cut] = self._look_up(cut, key)
            self._disk_bytes += sum(row.nbytes for row in self._kept[cut] if row is not None)
        starts: dict[int, list[Tensor | None]] = {}
        lacking = self._lacking(keys, below, starts)
        missing = {slot for slots in lacking.values() for slot in slots}
        self._found |= set(range(len(self._rows))) - missing
        total = int(self._rows.widths[sorted(missing)].sum())
        done = 0
        waiting: dict[int, dict[int, Tensor]] = {cut: {} for cut in keys}
        full: set[int] = set()
        progress(done, total)
        try:
            for lack, slots in self._batches_of(lacking, mixed_lengths):
                start = None
                if lack.start:
                    rows_there = [starts[lack.start][slot] for slot in slots.tolist()]
                    start = Start(lack.start, [row for row in rows_there if row is not None])
                    self._continued |= set(slots.tolist())
                for cut, rows in self._compute(slots, lack.cuts, start).items():
                    waiting[cut].update(zip(slots.tolist(), rows, strict=True))
                    if sum(row.nbytes for row in waiting[cut].values()) >= self._portion_bytes:
                        if not self._keep(cut, keys[cut], waiting[cut]):
                            full.add(cut)
                        waiting[cut] = {}
                self._computed |= set(slots.tolist())
                done += int(self._rows.widths[slots].sum())
                progress(done, total)
                if full == set(keys):
                    progress(total, total)
                    break
        finally:  # an interrupted run leaves to the next what it has computed
            for cut, left in waiting.items():
                if left:
                    self._keep(cut, keys[cut], left)
        in_memory = sum(self._memory_bytes.values())
        self._most_memory_bytes = max(self._most_memory_bytes, in_memory)

    def drop(self, cut: int) -> None:
        """Forget what was kept at this cut."""
        self._kept.pop(cut, None)
        self._memory_bytes.pop(cut, None)

    def at(self, cut: int, slots: Tensor) -> list[Tensor]:
        """The activations of these rows (B,), computed again where they could not be kept."""
        kept = self._kept[cut]
        rows = [kept[slot] for slot in slots.tolist()]
        absent = [place for place, row in enumerate(rows) if row is None]
        if absent:
            again = self._compute(slots[absent], [cut], None)[cut]
            self._recomputed += len(absent)
            for place, row in zip(absent, again, strict=True):
                rows[place] = row
        return [row for row in rows if row is not None]

    def facts(self) -> KeptActivations:
        """What was computed, found and kept so far."""
        return KeptActivations(
            texts=sum(len(slots) for slots in self._rows.slots.values()),
            distinct=len(self._rows),
            computed=len(self._computed),
            found=len(self._found),
            continued=len(self._continued),
            recomputed=self._recomputed,
            memory_bytes=self._most_memory_bytes,
            disk_bytes=self._disk_bytes,
        )

    def _lacking(
        self,
        cuts: Iterable[int],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        starts: dict[int, list[Tensor | None]],
    ) -> dict[_Lack, list[int]]:
        """The rows that lack activations at some of the ``cuts``; into ``starts`` comes what is
        kept at the cuts from which they go on, the deepest that serves each."""
        waiting: dict[int, tuple[int, ...]] = {}
        for slot in range(len(self._rows)):
            if lacks := tuple(cut for cut in cuts if self._kept[cut][slot] is None):
                waiting[slot] = lacks
        lacking: dict[_Lack, list[int]] = {}
        for candidate in sorted({*cuts, *below}, reverse=True):
            served = [slot for slot, lacks in waiting.items() if candidate < min(lacks)]
            if not served:
                continue
            kept = self._kept.get(candidate) or self._look_up(candidate, below[candidate]())
            for slot in served:
                if kept[slot] is not None:
                    starts[candidate] = kept
                    lacking.setdefault(_Lack(waiting.pop(slot), candidate), []).append(slot)
        for slot, lacks in waiting.items():
            lacking.setdefault(_Lack(lacks, 0), []).append(slot)
        return lacking

    def _look_up(self, cut: int, key: PrefixKey | None) -> list[Tensor | None]:
        nothing: list[Tensor | None] = [None] * len(self._rows)
        if key is None or self._room.disk is None:
            return nothing
        found = self._room.disk.load(key, self._rows.keys)
        if not found:
            return nothing
        # A key can be no better than the versions that components report: try one row.
        slot = next(slot for slot, key in enumerate(self._rows.keys) if key in found)
        ((again,),) = self._compute(torch.tensor([slot]), [cut], None).values()
        difference = (again.cpu().double() - found[self._rows.keys[slot]].double()).abs().max()
        if difference > _SAME_FRACTION * again.abs().max().item():
            logger.warning(
                "the activations that an earlier run kept differ from today's (by %.2g): they are "
                "computed again; clsbench cache clear %s removes them",
                difference,
                key.digest[:12],
            )
            return nothing
        return [found.get(row_key) for row_key in self._rows.keys]

    def _keep(self, cut: int, key: PrefixKey | None, rows: Mapping[int, Tensor]) -> int:
        """How many of the rows found room."""
        mapped: Mapping[str, Tensor] = {}
        if key is not None and self._room.disk is not None:
            by_key = {self._rows.keys[slot]: row.cpu() for slot, row in rows.items()}
            mapped = self._room.disk.store(key, by_key)
            self._disk_bytes += sum(row.nbytes for row in mapped.values())
        free_bytes = self._room.memory_bytes - sum(self._memory_bytes.values())
        in_memory: dict[int, Tensor] = {}
        for slot, row in rows.items():
            if row.nbytes <= free_bytes:
                free_bytes -= row.nbytes
                in_memory[slot] = row
            else:
                self._kept[cut][slot] = mapped.get(self._rows.keys[slot])
        for slot, row in _side_by_side(in_memory).items():
            self._kept[cut][slot] = row
            self._memory_bytes[cut] = self._memory_bytes.get(cut, 0) + row.nbytes
        return sum(self._kept[cut][slot] is not None for slot in rows)

    def _batches_of(
        self, lacking: Mapping[_Lack, Sequence[int]], mixed_lengths: bool
    ) -> Iterator[tuple[_Lack, Tensor]]:
        for lack, slots in lacking.items():
            for batch in self._batches(slots, mixed_lengths):
                yield lack, batch

    def _batches(self, slots: Sequence[int], mixed_lengths: bool) -> Iterator[Tensor]:
        """Rows of similar width together, so many at a time that the processor is busy."""
        batch: list[int] = []
        widths = self._rows.widths.tolist()
        for slot in sorted(slots, key=widths.__getitem__, reverse=True):
            full = sum(widths[other] for other in batch) + widths[slot] > self._batch_tokens
            if batch and (full or (not mixed_lengths and widths[slot] != widths[batch[0]])):
                yield torch.tensor(batch)
                batch = []
            batch.append(slot)
        if batch:
            yield torch.tensor(batch)


def _side_by_side(rows: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """The rows copied into one block: small ones that live long would lie scattered among the
    large ones that come and go, and keep the memory between them from being used."""
    if not rows:
        return {}
    first = next(iter(rows.values()))
    block = first.new_empty(sum(row.numel() for row in rows.values()))
    places = block.split_with_sizes([row.numel() for row in rows.values()])
    return {
        slot: place.view(row.shape).copy_(row)
        for (slot, row), place in zip(rows.items(), places, strict=True)
    }
