"""Texts to logits, by the plan: what training, evaluation and final scoring have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clsbench.components.axes import Pooling
from clsbench.data.tokens import TokenRows
from clsbench.fastpath.cache.disk_cache import PrefixKey
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.prefix import (
    PrefixChangedError,
    PrefixStore,
    Progress,
    Room,
    Start,
    nobody_watches,
)
from clsbench.fastpath.rows import DistinctRows
from clsbench.model.classifier import Classifier
from clsbench.model.packing import Packing
from clsbench.schema.record import KeptActivations

_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
"""How many token positions go through a frozen prefix at once, by kind of device.

On the CPU larger batches are slower (by 7 % at twice as many, GPT-2 small on two cores): the
products gain nothing any more, and the memory of large activations is handed out anew every time.
"""


class Shortcuts(NamedTuple):
    """The fast path of one run: its plan, the pooling it was made for, and room for activations.

    ``key`` gives, for a cut, what fixes the activations there, or ``None`` where they are not to be
    kept for later runs. ``prefix_tokens`` is how many token positions go through a frozen prefix at
    once (by default what suits the device).
    """

    plan: FastPlan
    pooling: Pooling
    room: Room
    key: Callable[[int], PrefixKey | None]
    prefix_tokens: int | None = None


class Forward:
    """Logits of texts by split and index, from a classifier on its device in one precision.

    Without ``shortcuts`` every call sends the whole batch through the whole classifier; with them
    the results are the same and less is computed.
    """

    def __init__(
        self,
        classifier: Classifier,
        splits: Mapping[str, TokenRows],
        device: torch.device,
        precision: str,
        shortcuts: Shortcuts | None = None,
    ) -> None:
        self.classifier = classifier
        self.device = device
        self.precision = precision
        self.splits = splits
        self.shortcuts = shortcuts
        self._fast = _FastForward(self, shortcuts) if shortcuts is not None else None

    @property
    def prefix_seconds(self) -> float:
        """Seconds so far in which a frozen prefix was computed (again too) or looked for."""
        return self._fast.seconds() if self._fast is not None else 0.0

    def problems(self) -> tuple[str, ...]:
        """What went wrong with keeping a frozen prefix, as it was told."""
        return self._fast.problems() if self._fast is not None else ()

    def prepare(self, progress: Progress = nobody_watches) -> None:
        """Compute what is kept of the frozen prefix for as long as it stays as it is now."""
        if self._fast is not None:
            self._fast.prepare(progress)

    def begin_epoch(self, epoch: int, progress: Progress = nobody_watches) -> None:
        """Follow the freezing strategy into ``epoch``; what was kept and is void comes anew."""
        if self._fast is not None:
            self._fast.begin_epoch(epoch, progress)

    def verify(self) -> None:
        """Try whether what is kept of the frozen prefix still holds.

        Raises:
            PrefixChangedError: it does not.
        """
        if self._fast is not None:
            self._fast.verify()

    def kept(self) -> KeptActivations | None:
        """What has become of the frozen prefix, ``None`` if there is none."""
        return self._fast.kept() if self._fast is not None else None

    def close(self) -> None:
        """Give back the room that the frozen prefix takes; nothing goes forward any more."""
        if self._fast is not None:
            self._fast.close()

    def logits(self, split: str, indices: Sequence[int]) -> Tensor:
        """Logits (B, C) of the texts at ``indices``, in the mode the classifier is in."""
        with autocast(self.device, self.precision):
            if self._fast is not None:
                return self._fast.logits(split, indices)
            batch = self.splits[split].batch(indices).to(self.device)
            logits: Tensor = self.classifier(batch.input_ids, batch.lengths)
            return logits

    def evaluate(self, split: str, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Logits (B, C) of each batch in evaluation mode, float32 or float64, without gradients."""
        with evaluating(self.classifier):
            for logits in self._evaluate(split, batches):
                yield logits.float() if self.precision == "bf16" else logits

    def _evaluate(self, split: str, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        if self._fast is None or not self._fast.texts_stand_apart:
            for indices in batches:
                yield self.logits(split, indices)
            return
        flat = [index for indices in batches for index in indices]
        parts = [
            self.logits(split, flat[at : at + self._fast.most_texts])
            for at in range(0, len(flat), self._fast.most_texts)
        ]
        yield from torch.cat(parts).split_with_sizes([len(indices) for indices in batches])

    def all_logits(self, split: str, batch_size: int) -> Tensor:
        """Logits (N, C) of every text of a split in order, on the CPU; float64 in fp64."""
        texts = len(self.splits[split])
        if self._fast is None or not self._fast.texts_stand_apart:
            batches = [range(at, min(at + batch_size, texts)) for at in range(0, texts, batch_size)]
            return torch.cat([logits.cpu() for logits in self.evaluate(split, batches)])
        # Each text by itself: equal ones once, those of similar length together.
        order, place = self._fast.apart(split)
        (logits,) = self.evaluate(split, [order])
        return logits.cpu()[place]


class _FastForward:
    """The steps of :class:`Forward` with shortcuts."""

    def __init__(self, forward: Forward, shortcuts: Shortcuts) -> None:
        self._forward = forward
        self._plan = plan = shortcuts.plan
        self._pooling = shortcuts.pooling
        self._key = shortcuts.key
        self._chain = Chain(forward.classifier, plan.single)
        self._cut = 0
        self._filled: dict[int, int] = {}
        self._versions: dict[int, dict[str, int]] = {}
        splits = forward.splits
        fixed = plan.unpadded or all(rows.padded for rows in splits.values())
        self._rows = DistinctRows(splits, shortcuts.pooling, plan.unpadded) if fixed else None
        self.texts_stand_apart = fixed and plan.mixed_lengths and plan.joins
        """Whether a text gives the same in evaluation whatever batch it is in."""
        batch_tokens = _BATCH_TOKENS.get(forward.device.type, _BATCH_TOKENS["cpu"])
        self.most_texts = 1
        self._store: PrefixStore | None = None
        if self._rows is not None:
            self.most_texts = max(batch_tokens // int(self._rows.widths.max()), 1)
            if any(epoch.cut for epoch in plan.epochs):
                self._store = PrefixStore(
                    self._rows,
                    self._prefix,
                    shortcuts.room,
                    shortcuts.prefix_tokens or batch_tokens,
                )

    # --- which prefix is kept ---------------------------------------------------------------------

    def prepare(self, progress: Progress) -> None:
        """Compute the prefix at every cut for which the first weights hold, in one pass."""
        cuts = sorted({cut for cut, since in self._plan.epochs if cut and since < 0})
        if self._store is not None and cuts:
            # A cut in which nothing is saved is kept by no run.
            below = {cut: partial(self._key, cut) for cut in range(1, max(cuts))}
            self._fill({cut: self._key(cut) for cut in cuts}, below, -1, progress)
        self._cut = self._plan.epochs[0].cut

    def begin_epoch(self, epoch: int, progress: Progress) -> None:
        """Move the cut; drop what no later epoch reads."""
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

    def verify(self) -> None:
        if self._store is not None and self._cut:
            for name, version in self._versions_below(self._cut).items():
                if version != self._versions[self._cut][name]:
                    raise PrefixChangedError(f"{name}, which they read, was written to meanwhile")
            self._store.verify(self._cut)

    def _versions_below(self, cut: int) -> dict[str, int]:
        """How often the parameters were written to that stages before ``cut`` read."""
        names = frozenset[str]().union(*self._plan.weights[:cut])
        parameters = self._forward.classifier.named_parameters()
        return {name: parameter._version for name, parameter in parameters if name in names}

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
        if self._forward.precision == "bf16":
            below = {}  # what is kept is rounded: going on from it is not the same
        self._store.fill(keys, below, self._plan.mixed_lengths, progress)
        self._filled.update(dict.fromkeys(keys, since))
        self._versions.update({cut: self._versions_below(cut) for cut in keys})

    def kept(self) -> KeptActivations | None:
        return self._store.facts() if self._store is not None else None

    def seconds(self) -> float:
        return self._store.seconds if self._store is not None else 0.0

    def problems(self) -> tuple[str, ...]:
        return self._store.problems() if self._store is not None else ()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    # --- texts to logits --------------------------------------------------------------------------

    def logits(self, split: str, indices: Sequence[int]) -> Tensor:
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
        logits: Tensor = self._forward.classifier.out_head(hidden)
        return logits

    def apart(self, split: str) -> tuple[list[int], Tensor]:
        """One text for each distinct row of a split, sorted by width; and the place of every text
        (N,) among them."""
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
        """The frozen prefix of these rows (B,): for each cut, the activations of every row."""
        found: dict[int, Sequence[Tensor]] = {}
        forward = self._forward
        with evaluating(forward.classifier), autocast(forward.device, forward.precision):
            inputs = self._arrange(slots)
            context = self._chain.context(inputs)
            hidden = None if start is None else self._join(start.rows, start.cut, inputs)
            for index in range(start.cut if start is not None else 0, max(cuts)):
                hidden = self._chain.run(index, hidden, context, inputs)
                if index + 1 in cuts:
                    # A copy: the next stage may work in place, a later batch in the same memory.
                    dtype = torch.bfloat16 if forward.precision == "bf16" else hidden.dtype
                    kept = hidden.to(dtype, copy=True)
                    found[index + 1] = self._apart(kept, slots, index + 1, inputs.packing)
        return found

    def _apart(
        self, hidden: Tensor, slots: Tensor, cut: int, packing: Packing | None
    ) -> Sequence[Tensor]:
        """The activations at ``cut`` row by row, each with its own storage or all of a batch's."""
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
        """What :meth:`_apart` took apart at ``cut``, for the batch at hand."""
        # Some may lie on the device, some in files.
        rows = [row.to(self._forward.device, non_blocking=True) for row in kept]
        if self._one_each(cut) or len({len(row) for row in rows}) == 1:
            hidden = torch.stack(rows)
        elif inputs.packing is not None:
            hidden = torch.cat(rows)
        else:
            hidden = pad_sequence(rows, batch_first=True)
        return hidden.float() if self._forward.precision == "bf16" else hidden

    def _one_each(self, cut: int) -> bool:
        """Whether a text has one vector at ``cut`` rather than one a position."""
        single = self._plan.single
        return cut == len(self._chain) or (single is not None and cut > single)

    # --- the inputs of a batch --------------------------------------------------------------------

    def _arrange(self, slots: Tensor) -> Inputs:
        """Distinct rows as a batch: packed, narrowed or padded, as the plan has it."""
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
        """A batch that is padded to its own longest text, where that matters."""
        batch = self._forward.splits[split].batch(indices)
        positions = self._pooling.positions(batch.lengths, batch.input_ids.shape[1])
        return self._on_device(Inputs(batch.input_ids, batch.lengths, positions, None))

    def _on_device(self, inputs: Inputs) -> Inputs:
        device = self._forward.device
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
    """What is kept by this run alone."""
    return None


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":  # only a copy from pinned memory does not wait
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 autocast for ``precision="bf16"``, nothing otherwise."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def evaluating(classifier: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; the former mode comes back afterwards."""
    training = classifier.training
    classifier.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        classifier.train(training)
