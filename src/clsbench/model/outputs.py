"""What a classifier's logits mean: one class per text (softmax) or several (sigmoid)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy () of logits (B, C) for labels (B,) int64.

    For multi-label data, labels are (B, C) bool, and it is the binary cross-entropy, a mean over
    texts and classes.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def class_probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """The probabilities (N, C); those of a text sum to 1, except for multi-label data."""
    return logits.sigmoid() if multi_label else logits.softmax(dim=-1)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each text (N,) has its class, or exactly its classes with thresholds of 0.5."""
    if labels.ndim == 1:
        return logits.argmax(dim=-1) == labels
    return ((logits >= 0) == labels).all(dim=-1)
