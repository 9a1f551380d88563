"""Evaluation during training: means over a few batches, as in the book."""

from __future__ import annotations

from collections.abc import Sequence

from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.model.outputs import correct, mean_loss


def mean_batch_loss(forward: Forward, split: str, batches: Sequence[Sequence[int]]) -> float:
    """The mean over ``batches`` of each batch's mean cross-entropy, as the book reports it."""
    labels = forward.splits[split].labels
    losses = [
        mean_loss(logits, labels[list(indices)].to(logits.device))
        for logits, indices in zip(forward.evaluate(split, batches), batches, strict=True)
    ]
    return sum(loss.item() for loss in losses) / len(losses) if losses else float("nan")


def deviation_from_fp32(forward: Forward, split: str, batches: Sequence[Sequence[int]]) -> float:
    """The largest difference of a batch's loss from that in fp32, computed without shortcuts."""
    exact = PlainForward(forward.classifier, forward.splits, forward.device, "fp32")
    labels = forward.splits[split].labels
    largest = 0.0
    for indices in batches:
        wanted = labels[list(indices)].to(forward.device)
        ((ours,), (theirs,)) = (f.evaluate(split, [indices]) for f in (forward, exact))
        difference = mean_loss(ours, wanted) - mean_loss(theirs, wanted)
        largest = max(largest, abs(difference.item()))
    return largest


def batch_accuracy(forward: Forward, split: str, batches: Sequence[Sequence[int]]) -> float:
    """The share of the texts in ``batches`` that are classified correctly, in all their classes."""
    labels = forward.splits[split].labels
    right = [
        correct(logits, labels[list(indices)].to(logits.device))
        for logits, indices in zip(forward.evaluate(split, batches), batches, strict=True)
    ]
    total = sum(len(part) for part in right)
    return sum(int(part.sum()) for part in right) / total if total else float("nan")
