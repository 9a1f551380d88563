"""The activations of a frozen prefix: computed once per distinct row, kept where there is room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from clsbench.errors import ClsbenchError
from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.kept_rows import KeptRows, Room, total_bytes
from clsbench.fastpath.rows import DistinctRows
from clsbench.schema.record import KeptActivations

Progress = Callable[[int, int], None]
"""Called with how many token positions have gone through the prefix, and of how many."""


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


ROWS_TRIED = 4
"""Rows that are computed again before anything found of an earlier run is used."""

_VERIFIED_PARTS = 7
"""How far from one another the rows stand that are computed again while training."""

_SAME_FRACTION = {
    torch.bfloat16: 1e-2,
    torch.float16: 1e-2,
    torch.float32: 1e-4,
    torch.float64: 1e-9,
}
"""Of the largest activation. What differs by more differs by more than rounding, in what is kept:
it comes from another computation."""

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


class _Lack(NamedTuple):
    """What rows may have in common: the cuts at which they lack activations, and the one below
    from which to go on (0: their tokens)."""

    cuts: tuple[int, ...]
    start: int


class PrefixChangedError(ClsbenchError):
    """The stages whose activations are kept have changed; ``what`` says how that was noticed."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"what is kept of the frozen stages no longer holds: {what}; run with --no-fast prefix"
        )


class PrefixStore:
    """Activations by cut and row: in memory within a budget, in memory-mapped files beyond it,
    computed again beyond that."""

    def __init__(self, rows: DistinctRows, compute: Compute, room: Room, batch_tokens: int) -> None:
        self._rows = rows
        self._compute = compute
        self._disk = room.disk
        self._batch_tokens = batch_tokens
        self._kept = KeptRows(room, rows.keys)
        self._computed: set[int] = set()
        self._verified = 0
        self._found: set[int] = set()
        self._continued: set[int] = set()
        self._recomputed = 0
        self._problems: list[str] = []
        self.seconds = 0.0
        """Seconds so far in which activations were computed, or looked for on disk."""

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
        Once there is no room for more at a cut, the rest is left to be computed when it is asked
        for.
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
        self._found |= set(range(len(self._rows))) - missing
        total = int(self._rows.widths[sorted(missing)].sum())
        done = 0
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
                    full |= self._keep_what_is_due(keys, waiting)
                done += int(self._rows.widths[slots].sum())
                progress(done, total)
        finally:  # an interrupted run leaves to the next what it has computed
            for cut, left in waiting.items():
                if left:
                    self._kept.keep(cut, keys[cut], left)

    def close(self) -> None:
        """Forget everything that was kept; what lies in the cache across runs stays there."""
        self._kept.close()

    def drop(self, cut: int) -> None:
        """Forget what was kept at this cut."""
        self._kept.drop(cut)

    def at(self, cut: int, slots: Tensor) -> list[Tensor]:
        """The activations of these rows (B,), computed again where they could not be kept.

        What is computed again is kept if memory has become free.
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
        """Compute one of the rows that are kept again, another one each time.

        Raises:
            PrefixChangedError: it is not as it was kept.
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
                f"computed again by itself, a text differs {difference}: something has changed the "
                "stages, or they depend on the other texts in a batch"
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
        """The rows that lack activations at some of the ``cuts``; into ``starts`` comes what is
        kept at the cuts from which they go on, the deepest that serves each."""
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
            return nothing
        # A key can be no better than the versions that components report: try a few.
        for slot in self._spread(found):
            ((again,),) = self._compute(torch.tensor([slot]), [cut], None).values()
            difference = _difference(again.cpu(), found[self._rows.keys[slot]])
            if difference is None:
                continue
            problem = (
                f"the activations that an earlier run kept differ from today's ({difference}): "
                f"they are computed again; clsbench cache clear {key.digest[:12]} removes them"
            )
            logger.warning("%s", problem)
            self._problems.append(problem)
            return nothing
        return [found.get(row_key) for row_key in self._rows.keys]

    def _spread(self, found: Container[str]) -> Iterator[int]:
        """A few of the rows that were found, from the one with the most tokens to the shortest."""
        lengths = self._rows.lengths.tolist()
        there = [slot for slot, row_key in enumerate(self._rows.keys) if row_key in found]
        there.sort(key=lambda slot: -lengths[slot])
        last = len(there) - 1
        places = {last * part // (ROWS_TRIED - 1) for part in range(ROWS_TRIED)}
        return (there[place] for place in sorted(places))

    def _keep_what_is_due(
        self, keys: Mapping[int, PrefixKey | None], waiting: dict[int, dict[int, Tensor]]
    ) -> set[int]:
        """Keep what has grown to a portion; the cuts where not all of it found room.

        Where one cut has no room the others try theirs, lest they wait in vain.
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


def _difference(today: Tensor, stored: Tensor) -> str | None:
    """How the rows differ by more than rounding; ``None`` if they do not."""
    if (today.dtype, today.shape) != (stored.dtype, stored.shape):
        kinds = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (stored, today)]
        return f"{kinds[0]} and not {kinds[1]}"
    if not today.numel():
        return None
    difference = (today.double() - stored.double()).abs().max().item()
    # Not the other way round: NaN differs.
    if difference <= _SAME_FRACTION[stored.dtype] * today.double().abs().max().item():
        return None
    return f"by {difference:.2g}"
