"""A miniature classifier with a change that a plugin may make, trained on both paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fast_and_plain import CPU, Outcome, Setup, random_splits, run_both
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2
from torch import nn

import clsbench
from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.model.freezing import plan_freezing
from clsbench.schema.training import TrainSettings

LENGTHS = [9, 4, 1, 9, 5, 5, 7, 3, 8]

Change = Callable[[Any], object]


class Alters(clsbench.Adapter):
    """Applies the change of a test."""

    def apply(self, classifier: nn.Module) -> None:
        """Change the classifier."""
        CHANGES[-1](classifier)


CHANGES: list[Change] = []


def both(
    change: Change,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling | None = None,
    epochs: int = 2,
    trial: bool = False,
    batch_size: int = 3,
    dtype: torch.dtype = torch.float64,
    device: torch.device = CPU,
) -> tuple[Outcome, Outcome]:
    settings = TrainSettings(epochs=epochs, batch_size=batch_size, eval_every=2, eval_batches=2)
    parts = (TinyGPT2(), pooling or LastToken(), Linear(), freezing, Alters(), settings)
    setup = Setup(*parts, device=device)
    splits = random_splits(1, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    CHANGES.append(change)
    try:
        return run_both(setup, splits, dtype, trial)
    finally:
        CHANGES.pop()


def assert_same(plain: Outcome, fast: Outcome) -> None:
    assert fast.losses == pytest.approx(plain.losses, rel=1e-9)
    assert fast.evaluations == pytest.approx(plain.evaluations, rel=1e-9)


def tried(outcome: Outcome, freezing: clsbench.FreezingStrategy) -> str | None:
    plan = plan_freezing(freezing, TinyGPT2().describe(), 2, "under test")
    problem = check_equivalence(outcome.forward, plan, 3)
    return None if problem is None else problem.text


def block(classifier: Any, index: int) -> Any:
    return classifier.backbone.trf_blocks[index]
