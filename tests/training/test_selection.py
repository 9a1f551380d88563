"""The epoch that the validation split selects, and early stopping."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from fast_and_plain import (
    EVERYTHING_IN_MEMORY,
    Outcome,
    Setup,
    default_dtype,
    random_splits,
    run_both,
    train,
)
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

import clsbench
from clsbench.builtin.freezing_strategies import Gradual, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.metrics import Brier, LogLoss
from clsbench.builtin.poolings import LastToken
from clsbench.schema.training import TrainSettings

LENGTHS = [9, 4, 1, 3, 9, 5, 5, 7, 3, 8, 2, 6]
EPOCHS = 6


class ByEpoch(clsbench.FreezingStrategy, frozen=True):
    """Trains block 1 in some epochs, and block 2 always."""

    epochs: tuple[int, ...] = (0, 3)

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """Both blocks."""
        return self.trainable_at(parameters, self.epochs[0])

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> list[str]:
        """One block or both."""
        stages = {"block.1", "block.2"} if epoch in self.epochs else {"block.2"}
        return [p.name for p in parameters if p.stage in stages]


def setup(freezing: clsbench.FreezingStrategy, **settings: object) -> Setup:
    training = TrainSettings(
        **{"epochs": EPOCHS, "batch_size": 3, "lr": 0.02, "eval_every": 3, "eval_batches": 1}  # type: ignore[arg-type]
        | settings
    )
    return Setup(TinyGPT2(), LastToken(), Linear(), freezing, None, training)


def outcome(freezing: clsbench.FreezingStrategy, fast: bool, **settings: object) -> Outcome:
    splits = random_splits(4, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    room = EVERYTHING_IN_MEMORY if fast else None
    return train(setup(freezing, **settings), splits, torch.float64, room)


def scores_and_best(found: Outcome) -> tuple[tuple[float, ...], int]:
    assert found.selection is not None
    scores = found.selection.scores
    return scores, scores.index(max(scores)) + 1


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("freezing", [LastBlocks(n=2), Gradual(), ByEpoch()], ids=repr)
def test_selection_restores_the_weights_of_the_best_epoch(
    freezing: clsbench.FreezingStrategy, fast: bool
) -> None:
    found = outcome(freezing, fast, select="best-validation")
    scores, best = scores_and_best(found)
    assert len(scores) == EPOCHS
    assert 1 <= best < EPOCHS, f"this test needs a best epoch before the last: {scores}"
    assert found.selection is not None
    assert (found.selection.best_epoch, found.selection.used_epoch) == (best, best)
    assert not found.selection.stopped_early
    shorter = outcome(freezing, fast, epochs=best)
    for name, weight in shorter.weights.items():
        assert torch.equal(found.weights[name], weight), name
    for name, logits in shorter.logits.items():
        torch.testing.assert_close(found.logits[name], logits, rtol=0, atol=1e-12)
    labels = random_splits(4, LENGTHS, WIDTH_TOKENS, VOCABULARY).validation.labels
    right = found.logits["validation"].argmax(dim=-1) == labels
    assert float(right.double().mean()) == scores[best - 1]


@pytest.mark.parametrize("freezing", [LastBlocks(n=2), Gradual(), ByEpoch()], ids=repr)
def test_selection_does_not_change_the_course_of_training(
    freezing: clsbench.FreezingStrategy,
) -> None:
    usual, selected = outcome(freezing, True), outcome(freezing, True, select="best-validation")
    assert usual.selection is None
    assert (selected.losses, selected.evaluations) == (usual.losses, usual.evaluations)


def test_selection_fast_path_equals_plain_for_strategies_that_freeze_again() -> None:
    splits = random_splits(4, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    for epochs in ((1,), (0, 2), (0, 5)):
        chosen = setup(ByEpoch(epochs=epochs), select="best-validation")
        plain, fast = run_both(chosen, splits, torch.float64)
        assert plain.selection == fast.selection
        for name, logits in plain.logits.items():
            torch.testing.assert_close(fast.logits[name], logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("select", ["last", "best-validation"])
def test_selection_patience_ends_training_after_epochs_without_a_better_score(select: str) -> None:
    scores, _ = scores_and_best(outcome(LastBlocks(n=2), True, select="best-validation"))
    found = outcome(LastBlocks(n=2), True, select=select, patience=1)
    better = [epoch for epoch in range(1, EPOCHS) if scores[epoch] > max(scores[:epoch])]
    end = next(epoch for epoch in range(1, EPOCHS) if epoch not in better)
    assert found.selection is not None
    assert end + 1 < EPOCHS, f"this test needs an early end: {scores}"
    assert found.selection.scores == scores[: end + 1]
    assert found.selection.stopped_early
    best, used = found.selection.best_epoch, found.selection.used_epoch
    assert best == end
    assert used == (best if select == "best-validation" else end + 1)
    shorter = outcome(LastBlocks(n=2), True, epochs=used)
    for name, weight in shorter.weights.items():
        assert torch.equal(found.weights[name], weight), name


def test_selection_patience_that_is_not_used_up_does_not_stop() -> None:
    found = outcome(LastBlocks(n=2), True, patience=EPOCHS)
    assert found.selection is not None
    assert len(found.selection.scores) == EPOCHS
    assert (found.selection.used_epoch, found.selection.stopped_early) == (EPOCHS, False)


def test_selection_of_equal_scores_uses_the_first_epoch() -> None:
    with default_dtype(torch.float32):
        found = outcome(LastBlocks(n=1), True, lr=1e-12, select="best-validation")
    scores, _ = scores_and_best(found)
    assert len(set(scores)) == 1
    assert found.selection is not None
    assert found.selection.used_epoch == 1


@pytest.mark.parametrize(("name", "metric"), [("log-loss", LogLoss()), ("brier", Brier())])
def test_selection_by_a_metric_of_which_lower_is_better(name: str, metric: clsbench.Metric) -> None:
    splits = random_splits(4, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    parts = {"metric_name": name, "metric": metric}
    chosen = setup(LastBlocks(n=2), select="best-validation")._replace(parts=parts)
    found = train(chosen, splits, torch.float64, EVERYTHING_IN_MEMORY)
    assert found.selection is not None
    assert found.selection.metric == name
    scores = found.selection.scores
    assert found.selection.used_epoch == scores.index(min(scores)) + 1
    assert scores.index(min(scores)) != scores.index(max(scores))
    probabilities = found.logits["validation"].softmax(dim=-1).numpy()
    value = metric.compute(splits.validation.labels.numpy(), probabilities)
    assert value == pytest.approx(min(scores), rel=1e-9)
