"""The forward pass with the shortcuts of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clsbench.components.axes import Pooling
from clsbench.data.tokens import TokenRows
from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.forward import Compute, Forward, autocast, evaluating
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.prefix import (
    PrefixChangedError,
    PrefixStore,
    Progress,
    Start,
    no_progress,
)
from clsbench.fastpath.rows import DistinctRows
from clsbench.model.classifier import Classifier
from clsbench.model.packing import Packing
from clsbench.schema.record import KeptActivations

_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Token positions per batch of a frozen prefix, by device type.

On the CPU larger batches are slower (7 % at twice the size, GPT-2 small on two cores): the matrix
products are not faster, and memory for large activations is allocated anew each time.
"""


class Shortcuts(NamedTuple):
    """The fast path of one run: its plan, its pooling, and the storage for activations.

    ``key`` returns the cache key of a cut, or ``None`` if its activations are not cached across
    runs. ``prefix_tokens`` is the number of token positions per batch of a frozen prefix (default:
    depends on the device).
    """

    plan: FastPlan
    pooling: Pooling
    room: Room
    key: Callable[[int], PrefixKey | None]
    prefix_tokens: int | None = None


class FastForward(Forward):
    """Computes logits with the shortcuts of a plan."""

    def __init__(
        self,
        classifier: Classifier,
        splits: Mapping[str, TokenRows],
        device: torch.device,
        precision: str,
        shortcuts: Shortcuts,
    ) -> None:
        super().__init__(classifier, splits, device, precision)
        self.shortcuts = shortcuts
        self._plan = plan = shortcuts.plan
        self._pooling = shortcuts.pooling
        self._key = shortcuts.key
        self._chain = Chain(classifier, plan.single)
        self._cut = 0
        self._filled: dict[int, int] = {}
        self._versions: dict[int, dict[str, int]] = {}
        fixed = plan.unpadded or all(rows.padded for rows in splits.values())
        self._rows = DistinctRows(splits, shortcuts.pooling, plan.unpadded) if fixed else None
        self._texts_stand_apart = fixed and plan.mixed_lengths and plan.joins
        """Whether the result of a text in evaluation is independent of its batch."""
        batch_tokens = _BATCH_TOKENS.get(device.type, _BATCH_TOKENS["cpu"])
        self._most_texts = 1
        self._store: PrefixStore | None = None
        if self._rows is not None:
            self._most_texts = max(batch_tokens // int(self._rows.widths.max()), 1)
            if any(epoch.cut for epoch in plan.epochs):
                self._store = PrefixStore(
                    self._rows,
                    self._prefix,
                    shortcuts.room,
                    shortcuts.prefix_tokens or batch_tokens,
                )

    # --- which prefix is kept ---------------------------------------------------------------------

    def prepare(self, progress: Progress = no_progress) -> None:
        """Compute the prefix at every cut that depends on initial weights only, in one pass."""
        cuts = sorted({cut for cut, since in self._plan.epochs if cut and since < 0})
        if self._store is not None and cuts:
            # No run keeps activations at cuts that save no work; looking them up finds nothing.
            below = {cut: partial(self._key, cut) for cut in range(1, max(cuts))}
            self._fill({cut: self._key(cut) for cut in cuts}, below, -1, progress)
        self._cut = self._plan.epochs[0].cut

    def begin_epoch(self, epoch: int, progress: Progress = no_progress) -> None:
        """Move the cut; drop activations that no later epoch reads."""
        self._cut, since = self._plan.epochs[epoch]
        if self._store is None:
            return
        later = {(cut, last) for cut, last in self._plan.epochs[epoch:]}
        needed = {cut for cut, last in self._filled.items() if (cut, last) in later}
        comes_anew = self._cut > 0 and self._cut not in needed
        below = {
            cut: _no_key
            for cut, last in self._filled.items()
            if comes_anew and cut < self._cut and last == self._plan.holds_since(cut, epoch)
        }
        self._forget(self._filled.keys() - needed - below.keys())
        if comes_anew:
            self._fill({self._cut: None}, below, since, progress)
            self._forget(below.keys() - needed)

    def return_to(self, epoch: int) -> None:
        """Drop activations that depend on later training, and recompute those of ``epoch``."""
        if self._store is not None:
            self._forget([cut for cut, since in self._filled.items() if since > epoch])
            self.begin_epoch(epoch)

    def verify(self) -> None:
        """Compare the versions of the tensors that the prefix reads, and recompute one text."""
        if self._store is not None and self._cut:
            for name, version in self._versions_below(self._cut).items():
                if version != self._versions[self._cut].get(name, version):
                    raise PrefixChangedError(f"{name}, which these stages read, has been changed")
            self._store.verify(self._cut)

    def _versions_below(self, cut: int) -> dict[str, int]:
        """The versions of the parameters and buffers that stages before ``cut`` read."""
        names = frozenset[str]().union(*self._plan.tensors[:cut])
        classifier = self.classifier
        tensors = (*classifier.named_parameters(), *classifier.named_buffers())
        return {n: t._version for n, t in tensors if n in names and not t.is_inference()}

    def _forget(self, cuts: Iterable[int]) -> None:
        assert self._store is not None
        for cut in tuple(cuts):
            self._store.drop(cut)
            del self._filled[cut]

    def _fill(
        self,
        keys: Mapping[int, PrefixKey | None],
        below: Mapping[int, Callable[[], PrefixKey | None]],
        since: int,
        progress: Progress,
    ) -> None:
        assert self._store is not None
        if self.precision == "bf16":
            below = {}  # kept activations are rounded, so continuing from them is not exact
        self._store.fill(keys, below, self._plan.mixed_lengths, progress)
        self._filled.update(dict.fromkeys(keys, since))
        self._versions.update({cut: self._versions_below(cut) for cut in keys})

    @property
    def prefix_seconds(self) -> float:
        """Seconds spent so far on computing, recomputing or loading a frozen prefix."""
        return self._store.seconds if self._store is not None else 0.0

    def problems(self) -> tuple[str, ...]:
        """The warnings about activations of the frozen prefix that could not be kept."""
        return self._store.problems() if self._store is not None else ()

    def kept(self) -> KeptActivations | None:
        """Facts about the frozen prefix; ``None`` without one."""
        return self._store.facts() if self._store is not None else None

    def close(self) -> None:
        """Free the memory and disk space of the frozen prefix. Do not use the object afterwards."""
        if self._store is not None:
            self._store.close()

    # --- texts to logits --------------------------------------------------------------------------

    def _all(self, compute: Compute, split: str, batch_size: int) -> Tensor:
        if not self._texts_stand_apart:
            return super()._all(compute, split, batch_size)
        # Results are independent of batches: duplicates once, texts of similar length together.
        order, place = self._apart_texts(split)
        (results,) = self._evaluate(compute, split, [order])
        return results.cpu()[place]

    def _by_batch(
        self, compute: Compute, split: str, batches: Sequence[Sequence[int]]
    ) -> Iterator[Tensor]:
        if not self._texts_stand_apart:
            yield from super()._by_batch(compute, split, batches)
            return
        flat = [index for indices in batches for index in indices]
        parts = [
            compute(split, flat[at : at + self._most_texts])
            for at in range(0, len(flat), self._most_texts)
        ]
        yield from torch.cat(parts).split_with_sizes([len(indices) for indices in batches])

    def _logits(self, split: str, indices: Sequence[int]) -> Tensor:
        logits: Tensor = self.classifier.out_head(self._features(split, indices))
        return logits

    def _features(self, split: str, indices: Sequence[int]) -> Tensor:
        slots = self._rows.of(split, indices) if self._rows is not None else None
        if slots is not None:
            inputs = self._arrange(slots)
        else:
            inputs = self._as_they_come(split, indices)
        hidden: Tensor | None = None
        if self._cut:
            assert self._store is not None
            assert slots is not None
            hidden = self._join(self._store.at(self._cut, slots), self._cut, inputs)
        context = self._chain.context(inputs)
        for index in range(self._cut, len(self._chain)):
            hidden = self._chain.run(index, hidden, context, inputs)
        assert hidden is not None
        return hidden

    def _apart_texts(self, split: str) -> tuple[list[int], Tensor]:
        """One text for each distinct row of a split, sorted by width, and the index into them of
        every text (N,)."""
        assert self._rows is not None
        slots = self._rows.slots[split].tolist()
        first = {slot: index for index, slot in reversed(list(enumerate(slots)))}
        widths = self._rows.widths.tolist()
        order = sorted(first, key=lambda slot: (-widths[slot], slot))
        places = {slot: place for place, slot in enumerate(order)}
        return [first[slot] for slot in order], torch.tensor([places[slot] for slot in slots])

    def _prefix(
        self, slots: Tensor, cuts: Sequence[int], start: Start | None
    ) -> Mapping[int, Sequence[Tensor]]:
        """Compute the frozen prefix of these rows (B,): for each cut, the activations by row."""
        found: dict[int, Sequence[Tensor]] = {}
        with evaluating(self.classifier), autocast(self.device, self.precision):
            inputs = self._arrange(slots)
            context = self._chain.context(inputs)
            hidden = None if start is None else self._join(start.rows, start.cut, inputs)
            for index in range(start.cut if start is not None else 0, max(cuts)):
                hidden = self._chain.run(index, hidden, context, inputs)
                if index + 1 in cuts:
                    # A copy, since the next stage may work in place and memory may be reused.
                    dtype = torch.bfloat16 if self.precision == "bf16" else hidden.dtype
                    kept = hidden.to(dtype, copy=True)
                    found[index + 1] = self._apart(kept, slots, index + 1, inputs.packing)
        return found

    def _apart(
        self, hidden: Tensor, slots: Tensor, cut: int, packing: Packing | None
    ) -> Sequence[Tensor]:
        """Split the activations at ``cut`` into rows."""
        assert self._rows is not None
        if self._one_each(cut):
            return hidden.unbind(0)
        if packing is not None:
            return packing.split(hidden)
        widths = self._rows.widths[slots].tolist()
        return [
            row if width == len(row) else row[:width].clone()
            for row, width in zip(hidden.unbind(0), widths, strict=True)
        ]

    def _join(self, kept: Sequence[Tensor], cut: int, inputs: Inputs) -> Tensor:
        """Join rows of activations at ``cut`` into a batch; the inverse of :meth:`_apart`."""
        # Some rows may be on the device, some in files.
        rows = [row.to(self.device, non_blocking=True) for row in kept]
        if self._one_each(cut) or len({len(row) for row in rows}) == 1:
            hidden = torch.stack(rows)
        elif inputs.packing is not None:
            hidden = torch.cat(rows)
        else:
            hidden = pad_sequence(rows, batch_first=True)
        return hidden.float() if self.precision == "bf16" else hidden

    def _one_each(self, cut: int) -> bool:
        """Whether a text has one vector at ``cut`` rather than one per position."""
        single = self._plan.single
        return cut == len(self._chain) or (single is not None and cut > single)

    # --- the inputs of a batch --------------------------------------------------------------------

    def _arrange(self, slots: Tensor) -> Inputs:
        """A batch of distinct rows: packed, narrowed or padded, according to the plan."""
        rows = self._rows
        assert rows is not None
        widths = rows.widths[slots].tolist()
        input_ids = rows.input_ids[slots, : max(widths)]
        packing = None
        if self._plan.packed and len(set(widths)) > 1:
            packing = Packing.of(widths)
            input_ids = packing.pack(input_ids)
        positions = rows.positions[slots] if rows.positions is not None else None
        return self._on_device(Inputs(input_ids, rows.lengths[slots], positions, packing))

    def _as_they_come(self, split: str, indices: Sequence[int]) -> Inputs:
        """A batch padded to its own longest text."""
        batch = self.splits[split].batch(indices)
        positions = self._pooling.positions(batch.lengths, batch.input_ids.shape[1])
        return self._on_device(Inputs(batch.input_ids, batch.lengths, positions, None))

    def _on_device(self, inputs: Inputs) -> Inputs:
        device = self.device
        if device.type == "cpu":
            return inputs
        packing = inputs.packing
        return Inputs(
            _move(inputs.input_ids, device),
            _move(inputs.lengths, device),
            None if inputs.positions is None else _move(inputs.positions, device),
            None if packing is None else packing.to(device),
        )


def _no_key() -> PrefixKey | None:
    """The key of activations that are not cached across runs."""
    return None


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":  # non-blocking copies need pinned memory
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
