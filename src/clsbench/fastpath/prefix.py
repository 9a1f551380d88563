"""Activations of a frozen prefix, computed once per distinct row and kept within limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from clsbench.errors import ClsbenchError
from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.kept_rows import KeptRows, Room, total_bytes
from clsbench.fastpath.rows import DistinctRows
from clsbench.schema.record import KeptActivations

Progress = Callable[[int, int], None]
"""Receives the number of token positions processed by the prefix, and the total."""


def no_progress(done: int, total: int) -> None:
    """Ignore progress."""


ROWS_TRIED = 4
"""The number of rows recomputed before cached activations of an earlier run are used."""

_VERIFIED_PARTS = 7
"""Checks during training cycle through this many evenly spaced rows."""

_SAME_FRACTION = {
    torch.bfloat16: 1e-2,
    torch.float16: 1e-2,
    torch.float32: 1e-4,
    torch.float64: 1e-9,
}
"""Tolerance for recomputed rows, as a fraction of the largest activation. Larger differences are
not rounding errors."""

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """Kept activations from which a computation continues: their cut, and one tensor per row."""

    cut: int
    rows: Sequence[Tensor]


class Compute(Protocol):
    """Computes the prefix of rows."""

    def __call__(
        self, slots: Tensor, cuts: Sequence[int], start: Start | None
    ) -> Mapping[int, Sequence[Tensor]]:
        """For each cut, the activations of the rows ``slots`` (B,)."""
        ...


class _Lack(NamedTuple):
    """A group of rows: the cuts at which activations are missing, and the lower cut from which
    they are computed (0: from the tokens)."""

    cuts: tuple[int, ...]
    start: int


class PrefixChangedError(ClsbenchError):
    """Stages whose activations are kept have changed; ``what`` describes the change."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the kept activations of the frozen stages are no longer valid: {what}; run with "
            "--no-fast prefix"
        )


class PrefixStore:
    """Activations by cut and row, in memory, in memory-mapped files, or computed again, in this
    order of preference."""

    def __init__(self, rows: DistinctRows, compute: Compute, room: Room, batch_tokens: int) -> None:
        self._rows = rows
        self._compute = compute
        self._disk = room.disk
        self._batch_tokens = batch_tokens
        self._kept = KeptRows(room, rows.keys)
        self._computed: set[int] = set()
        self._proven = set() if room.proven is None else room.proven
        self._own: set[str] = set()
        """The digests of keys that nothing was cached for, so that this run computes all of it."""
        self._verified = 0
        self._found: set[int] = set()
        self._continued: set[int] = set()
        self._found_seconds: float | None = 0.0
        self._recomputed = 0
        self._problems: list[str] = []
        self.seconds = 0.0
        """Seconds spent so far on computing activations or loading them from disk."""

    def fill(
        self,
        keys: Mapping[int, PrefixKey | None],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        mixed_lengths: bool,
        progress: Progress,
    ) -> None:
        """Compute or load the activations at every cut in ``keys``, in one pass.

        A cut with a key is looked up in the disk cache and stored there for later runs. Rows
        continue from kept activations of a cut in ``below``, of this run or (if the cut has a key)
        of an earlier one. When the space for a cut is used up, its remaining rows are computed on
        demand.
        """
        started = time.perf_counter()
        try:
            self._fill(keys, below, mixed_lengths, progress)
        finally:
            self.seconds += time.perf_counter() - started

    def _fill(
        self,
        keys: Mapping[int, PrefixKey | None],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        mixed_lengths: bool,
        progress: Progress,
    ) -> None:
        for cut, key in keys.items():
            self.drop(cut)
            self._kept.begin(cut, self._look_up(cut, key))
        starts: dict[int, list[Tensor | None]] = {}
        lacking = self._lacking(keys, below, starts)
        missing = {slot for slots in lacking.values() for slot in slots}
        found = set(range(len(self._rows))) - missing
        self._found |= found
        self._reuse(found, keys[max(keys)] if keys else None)
        reused = [
            self._reuse(slots, keys[lack.start] if lack.start in keys else below[lack.start]())
            for lack, slots in lacking.items()
            if lack.start
        ]
        total = self._positions(missing)
        done = 0
        started = time.perf_counter()
        waiting: dict[int, dict[int, Tensor]] = {cut: {} for lack in lacking for cut in lack.cuts}
        full: set[int] = set()
        progress(done, total)
        try:
            for lack, slots in self._batches_of(lacking, mixed_lengths):
                if cuts := [cut for cut in lack.cuts if cut not in full]:
                    start = None
                    if lack.start:
                        rows_there = [starts[lack.start][slot] for slot in slots.tolist()]
                        start = Start(lack.start, [row for row in rows_there if row is not None])
                        self._continued |= set(slots.tolist())
                    for cut, rows in self._compute(slots, cuts, start).items():
                        waiting[cut].update(zip(slots.tolist(), rows, strict=True))
                    self._computed |= set(slots.tolist())
                    full |= self._keep_full_portions(keys, waiting)
                done += int(self._rows.widths[slots].sum())
                progress(done, total)
        finally:  # an interrupted run keeps its activations for the next run
            for cut, left in waiting.items():
                if left:
                    self._kept.keep(cut, keys[cut], left)
        self._proven |= {key.digest for key in keys.values() if key and key.digest in self._own}
        seconds = time.perf_counter() - started
        for cut in waiting:
            if (key := keys[cut]) is not None and self._disk is not None and None not in reused:
                spent = seconds + sum(filter(None, reused))
                self._disk.note_seconds(key, spent / max(total, 1))

    def _reuse(self, slots: Collection[int], key: PrefixKey | None) -> float | None:
        """Add the time that an earlier run spent on these rows, and return it; ``None`` if it is
        unknown, 0 for rows that this run has computed."""
        seconds: float | None = 0.0
        if slots and key is not None and self._disk is not None and key.digest not in self._own:
            rate = self._disk.seconds_per_position(key)
            seconds = rate * self._positions(slots) if rate is not None else None
        known = self._found_seconds is not None and seconds is not None
        self._found_seconds = (self._found_seconds or 0) + (seconds or 0) if known else None
        return seconds

    def _positions(self, slots: Collection[int]) -> int:
        return int(self._rows.widths[sorted(slots)].sum())

    def close(self) -> None:
        """Drop all kept activations, except those in the cache across runs."""
        self._kept.close()

    def drop(self, cut: int) -> None:
        """Drop the activations at this cut."""
        self._kept.drop(cut)

    def at(self, cut: int, slots: Tensor) -> list[Tensor]:
        """The activations of these rows (B,); those that are not kept are computed again.

        Recomputed activations are kept if memory has become available.
        """
        kept = self._kept.rows[cut]
        rows = [kept[slot] for slot in slots.tolist()]
        absent = [place for place, row in enumerate(rows) if row is None]
        if absent:
            started = time.perf_counter()
            again = self._compute(slots[absent], [cut], None)[cut]
            self._recomputed += len(absent)
            self._kept.keep_in_memory(cut, dict(zip(slots[absent].tolist(), again, strict=True)))
            for place, row in zip(absent, again, strict=True):
                rows[place] = row
            self.seconds += time.perf_counter() - started
        return [row for row in rows if row is not None]

    def verify(self, cut: int) -> None:
        """Recompute one of the kept rows, a different one each time, and compare.

        Raises:
            PrefixChangedError: the row differs from the kept one.
        """
        there = [slot for slot, row in enumerate(self._kept.rows[cut]) if row is not None]
        if not there:
            return
        slot = there[self._verified * len(there) // _VERIFIED_PARTS % len(there)]
        self._verified += 1
        kept = self._kept.rows[cut][slot]
        assert kept is not None
        ((again,),) = self._compute(torch.tensor([slot]), [cut], None).values()
        if difference := _difference(again.cpu(), kept.cpu()):
            raise PrefixChangedError(
                f"a text that was recomputed alone differs ({difference}), so the stages were "
                "changed, or depend on the other texts of a batch"
            )

    def problems(self) -> tuple[str, ...]:
        """The warnings about activations that could not be kept."""
        return (*self._problems, *self._kept.problems())

    def facts(self) -> KeptActivations:
        """What was computed, found and kept so far."""
        return KeptActivations(
            texts=sum(len(slots) for slots in self._rows.slots.values()),
            distinct=len(self._rows),
            computed=len(self._computed),
            found=len(self._found),
            found_seconds=self._found_seconds,
            continued=len(self._continued),
            recomputed=self._recomputed,
            memory_bytes=self._kept.most_memory_bytes,
            disk_bytes=self._kept.disk_bytes(),
        )

    def _lacking(
        self,
        cuts: Iterable[int],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        starts: dict[int, list[Tensor | None]],
    ) -> dict[_Lack, list[int]]:
        """The rows without activations at some of the ``cuts``, grouped. ``starts`` receives the
        kept activations from which they continue, each row from the deepest possible cut."""
        waiting: dict[int, tuple[int, ...]] = {}
        for slot in range(len(self._rows)):
            if lacks := tuple(cut for cut in cuts if self._kept.rows[cut][slot] is None):
                waiting[slot] = lacks
        lacking: dict[_Lack, list[int]] = {}
        for candidate in sorted({*cuts, *below}, reverse=True):
            served = [slot for slot, lacks in waiting.items() if candidate < min(lacks)]
            if not served:
                continue
            kept = self._kept.rows.get(candidate) or self._look_up(candidate, below[candidate]())
            for slot in served:
                if kept[slot] is not None:
                    starts[candidate] = kept
                    lacking.setdefault(_Lack(waiting.pop(slot), candidate), []).append(slot)
        for slot, lacks in waiting.items():
            lacking.setdefault(_Lack(lacks, 0), []).append(slot)
        return lacking

    def _look_up(self, cut: int, key: PrefixKey | None) -> list[Tensor | None]:
        nothing: list[Tensor | None] = [None] * len(self._rows)
        if key is None or self._disk is None:
            return nothing
        found = self._disk.load(key, self._rows.keys)
        if not found:
            self._own.add(key.digest)
            return nothing
        if key.digest in self._proven:
            return [found.get(row_key) for row_key in self._rows.keys]
        # A key is only as reliable as the versions that components report, so check some rows.
        for slot in self._spread(found):
            ((again,),) = self._compute(torch.tensor([slot]), [cut], None).values()
            difference = _difference(again.cpu(), found[self._rows.keys[slot]])
            if difference is None:
                continue
            problem = (
                f"cached activations of an earlier run differ from recomputed ones ({difference}) "
                "and are computed again; to remove them, run clsbench cache clear "
                f"{key.digest[:12]}"
            )
            logger.warning("%s", problem)
            self._problems.append(problem)
            return nothing
        self._proven.add(key.digest)
        return [found.get(row_key) for row_key in self._rows.keys]

    def _spread(self, found: Container[str]) -> Iterator[int]:
        """A few of the rows that were found, evenly spaced from the longest to the shortest."""
        lengths = self._rows.lengths.tolist()
        there = [slot for slot, row_key in enumerate(self._rows.keys) if row_key in found]
        there.sort(key=lambda slot: -lengths[slot])
        last = len(there) - 1
        places = {last * part // (ROWS_TRIED - 1) for part in range(ROWS_TRIED)}
        return (there[place] for place in sorted(places))

    def _keep_full_portions(
        self, keys: Mapping[int, PrefixKey | None], waiting: dict[int, dict[int, Tensor]]
    ) -> set[int]:
        """Keep the rows of cuts that have reached a portion; return the cuts that are full.

        If one cut is full, flush the others immediately.
        """
        full: set[int] = set()
        waiting_bytes = {cut: total_bytes(rows.values()) for cut, rows in waiting.items()}
        for cut in sorted(waiting, key=waiting_bytes.__getitem__, reverse=True):
            if not (rows := waiting[cut]):
                continue
            if full or waiting_bytes[cut] >= self._kept.portion_bytes(keys[cut]) // len(waiting):
                waiting[cut] = {}
                if self._kept.keep(cut, keys[cut], rows) < len(rows):
                    full.add(cut)
        return full

    def _batches_of(
        self, lacking: Mapping[_Lack, Sequence[int]], mixed_lengths: bool
    ) -> Iterator[tuple[_Lack, Tensor]]:
        for lack, slots in lacking.items():
            for batch in self._batches(slots, mixed_lengths):
                yield lack, batch

    def _batches(self, slots: Sequence[int], mixed_lengths: bool) -> Iterator[Tensor]:
        """Batches of rows of similar width, with at most ``batch_tokens`` positions each."""
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


def _difference(today: Tensor, stored: Tensor) -> str | None:
    """How the rows differ by more than rounding; ``None`` if they agree."""
    if (today.dtype, today.shape) != (stored.dtype, stored.shape):
        kinds = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (stored, today)]
        return f"{kinds[0]} instead of {kinds[1]}"
    if not today.numel():
        return None
    difference = (today.double() - stored.double()).abs().max().item()
    # Written this way so that NaN counts as a difference.
    if difference <= _SAME_FRACTION[stored.dtype] * today.double().abs().max().item():
        return None
    return f"by {difference:.2g}"
