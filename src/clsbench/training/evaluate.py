"""Evaluation: logits for token rows, and the few-batch means that the book watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench.data.tokens import TokenRows


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """bf16 autocast for ``precision="bf16"``, nothing otherwise."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def evaluating(classifier: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; the former mode comes back afterwards."""
    training = classifier.training
    classifier.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        classifier.train(training)


def mean_batch_loss(
    classifier: nn.Module,
    rows: TokenRows,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    precision: str,
) -> float:
    """The mean over ``batches`` of each batch's mean cross-entropy, as the book reports it."""
    losses = [
        F.cross_entropy(logits, labels).item()
        for logits, labels in _batch_logits(classifier, rows, batches, device, precision)
    ]
    return sum(losses) / len(losses) if losses else float("nan")


def batch_accuracy(
    classifier: nn.Module,
    rows: TokenRows,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    precision: str,
) -> float:
    """The share of the texts in ``batches`` that are classified correctly."""
    correct = total = 0
    for logits, labels in _batch_logits(classifier, rows, batches, device, precision):
        correct += int((logits.argmax(dim=-1) == labels).sum())
        total += len(labels)
    return correct / total if total else float("nan")


def all_logits(
    classifier: nn.Module, rows: TokenRows, batch_size: int, device: torch.device, precision: str
) -> Tensor:
    """Logits (N, C) of every row in order, on the CPU; float64 in fp64, else float32."""
    batches = [range(at, min(at + batch_size, len(rows))) for at in range(0, len(rows), batch_size)]
    parts = [
        logits.cpu() for logits, _ in _batch_logits(classifier, rows, batches, device, precision)
    ]
    return torch.cat(parts)


def _batch_logits(
    classifier: nn.Module,
    rows: TokenRows,
    batches: Iterable[Sequence[int]],
    device: torch.device,
    precision: str,
) -> Iterator[tuple[Tensor, Tensor]]:
    with evaluating(classifier):
        for indices in batches:
            batch = rows.batch(indices).to(device)
            with autocast(device, precision):
                logits = classifier(batch.input_ids, batch.lengths)
            yield logits.float() if precision == "bf16" else logits, batch.labels
