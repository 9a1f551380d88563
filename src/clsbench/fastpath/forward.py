"""The forward pass from texts to logits, used by training, evaluation and final scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from clsbench.data.tokens import TokenRows
from clsbench.fastpath.prefix import Progress, no_progress
from clsbench.model.classifier import Classifier
from clsbench.schema.record import KeptActivations

Compute = Callable[[str, Sequence[int]], Tensor]
"""Computes logits (B, C) or features (B, H) of the texts of a split at these indices."""


class Forward:
    """Computes logits of texts, given by split and index, on one device in one precision.

    :class:`PlainForward` and :class:`~clsbench.fastpath.fast_forward.FastForward` return the same
    results.
    """

    def __init__(
        self,
        classifier: Classifier,
        splits: Mapping[str, TokenRows],
        device: torch.device,
        precision: str,
    ) -> None:
        self.classifier = classifier
        self.device = device
        self.precision = precision
        self.splits = splits

    @property
    def prefix_seconds(self) -> float:
        """Seconds spent so far on computing, recomputing or loading a frozen prefix."""
        return 0.0

    def problems(self) -> tuple[str, ...]:
        """The warnings about activations of the frozen prefix that could not be kept."""
        return ()

    def prepare(self, progress: Progress = no_progress) -> None:
        """Compute the activations of the frozen prefix that are valid from the start."""

    def begin_epoch(self, epoch: int, progress: Progress = no_progress) -> None:
        """Prepare the frozen prefix of ``epoch``; recompute invalid activations."""

    def return_to(self, epoch: int) -> None:
        """Read the weights from now on as those after ``epoch``, an earlier one."""

    def verify(self) -> None:
        """Check that the kept activations of the frozen prefix are still valid.

        Raises:
            PrefixChangedError: they are not.
        """

    def kept(self) -> KeptActivations | None:
        """Facts about the frozen prefix; ``None`` without one."""
        return None

    def close(self) -> None:
        """Free the memory and disk space of the frozen prefix. Do not use the object afterwards."""

    def logits(self, split: str, indices: Sequence[int]) -> Tensor:
        """Logits (B, C) of the texts at ``indices``, in the classifier's current mode."""
        with autocast(self.device, self.precision):
            return self._logits(split, indices)

    def features(self, split: str, indices: Sequence[int]) -> Tensor:
        """Pooled features (B, H), the head's input, in the classifier's current mode."""
        with autocast(self.device, self.precision):
            return self._features(split, indices)

    def evaluate(self, split: str, batches: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Logits (B, C) of each batch in evaluation mode, float32 or float64, without gradients."""
        return self._evaluate(self.logits, split, batches)

    def all_logits(self, split: str, batch_size: int) -> Tensor:
        """Logits (N, C) of every text of a split in order, on the CPU; float64 in fp64."""
        return self._all(self.logits, split, batch_size)

    def all_features(self, split: str, batch_size: int) -> Tensor:
        """Pooled features (N, H) of every text of a split in order, as :meth:`all_logits`."""
        return self._all(self.features, split, batch_size)

    def _evaluate(
        self, compute: Compute, split: str, batches: Sequence[Sequence[int]]
    ) -> Iterator[Tensor]:
        with evaluating(self.classifier):
            for results in self._by_batch(compute, split, batches):
                yield results.float() if self.precision == "bf16" else results

    def _all(self, compute: Compute, split: str, batch_size: int) -> Tensor:
        texts = len(self.splits[split])
        batches = [range(at, min(at + batch_size, texts)) for at in range(0, texts, batch_size)]
        return torch.cat([results.cpu() for results in self._evaluate(compute, split, batches)])

    def _by_batch(
        self, compute: Compute, split: str, batches: Sequence[Sequence[int]]
    ) -> Iterator[Tensor]:
        for indices in batches:
            yield compute(split, indices)

    def _logits(self, split: str, indices: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def _features(self, split: str, indices: Sequence[int]) -> Tensor:
        raise NotImplementedError


class PlainForward(Forward):
    """Runs the whole classifier on every batch."""

    def _logits(self, split: str, indices: Sequence[int]) -> Tensor:
        batch = self.splits[split].batch(indices).to(self.device)
        logits: Tensor = self.classifier(batch.input_ids, batch.lengths)
        return logits

    def _features(self, split: str, indices: Sequence[int]) -> Tensor:
        batch = self.splits[split].batch(indices).to(self.device)
        return self.classifier.features(batch.input_ids, batch.lengths)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 autocast for ``precision="bf16"``, nothing otherwise."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def evaluating(classifier: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without gradients; restore the mode afterwards."""
    training = classifier.training
    classifier.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        classifier.train(training)
