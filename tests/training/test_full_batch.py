"""Training with steps on the whole training split."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fast_and_plain import Outcome, Setup, random_splits, run_both, train
from recipes import make_recipe
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

from clsbench.builtin.freezing_strategies import HeadOnly
from clsbench.builtin.heads import Linear
from clsbench.builtin.optimizers import LBFGS
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.embedding_gradients import RowGradients
from clsbench.fastpath.forward import PlainForward
from clsbench.model.classifier import Classifier
from clsbench.schema.training import TrainSettings
from clsbench.training.batches import NonFiniteLossError
from clsbench.training.full_batch import FullBatchTraining
from clsbench.training.log import TrainingLog
from clsbench.training.recipe import build_optimizer
from clsbench.training.schedule import EpochEnd, Evaluation, TrainBatch, full_batch_schedule

SPLITS = random_splits(3, [9, 4, 1, 3, 9, 5, 5, 7], WIDTH_TOKENS, VOCABULARY)
DECAY = 0.05


def setup(**settings: Any) -> Setup:
    usual = {"epochs": 4, "batch_size": 3, "lr": 1.0, "weight_decay": DECAY, "eval_every": 2}
    training = TrainSettings(**usual | settings)  # type: ignore[arg-type]
    parts = {"optimizer": LBFGS()}
    return Setup(TinyGPT2(), LastToken(), Linear(), HeadOnly(), None, training, parts=parts)


def penalized_loss(found: Outcome) -> float:
    """The objective on the whole training split, computed from the logits and the head."""
    loss = F.cross_entropy(found.logits["train"], SPLITS.train.labels)
    squares = [found.weights[f"out_head.{name}"].square().sum() for name in ("weight", "bias")]
    return float(loss + DECAY / 2 * sum(squares))


def test_full_batch_training_reaches_the_minimum_of_the_penalized_loss() -> None:
    """Batches of 3, 3 and 2 texts: their losses are weighted by their numbers of texts."""
    found = train(setup(), SPLITS, torch.float64, None)
    whole = train(setup(epochs=30, batch_size=8), SPLITS, torch.float64, None)
    assert penalized_loss(found) == pytest.approx(penalized_loss(whole), rel=1e-6)
    loss = F.cross_entropy(found.logits["train"], SPLITS.train.labels)
    assert found.losses[-1] == pytest.approx(float(loss), rel=1e-4)
    assert found.losses[0] > 1.05 * found.losses[-1]


def test_full_batch_training_ignored_class_is_left_out() -> None:
    ignored = int(SPLITS.train.labels[0])
    plain, fast = run_both(setup(ignore_index=ignored), SPLITS, torch.float64)
    assert fast.losses == pytest.approx(plain.losses, rel=1e-9)
    kept = ignored != SPLITS.train.labels
    loss = F.cross_entropy(plain.logits["train"][kept], SPLITS.train.labels[kept])
    assert plain.losses[-1] == pytest.approx(float(loss), rel=1e-3)


def full_batch_training(
    classifier: Classifier, line_search: bool = True
) -> tuple[FullBatchTraining, TrainingLog]:
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    forward = PlainForward(classifier, splits.by_name(), torch.device("cpu"), "fp32")
    recipe = make_recipe(setup().settings, optimizer=LBFGS(line_search=line_search))
    log, optimizer = TrainingLog(), build_optimizer(recipe, classifier)
    return FullBatchTraining(forward, optimizer, recipe, log, RowGradients()), log


def make_classifier() -> Classifier:
    torch.manual_seed(1)
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 3))
    classifier.backbone.requires_grad_(False)
    return classifier


def test_full_batch_training_counts_every_evaluation_of_a_text() -> None:
    training, log = full_batch_training(make_classifier())
    report = training.train(TrainBatch(0, 0, tuple(range(6)), update=True))
    training.settle()
    assert report.examples == log.examples
    assert log.examples % 6 == 0
    assert 2 * 6 <= log.examples <= 6 * (LBFGS().evaluations() + 25)
    assert log.real_tokens == 9 * log.examples


@pytest.mark.parametrize(("call", "line_search"), [(1, True), (1, False), (5, False)])
def test_full_batch_training_non_finite_loss_keeps_the_weights_before_the_step(
    call: int, line_search: bool
) -> None:
    """A line search goes back from a loss that is not finite."""
    classifier = make_classifier()
    training, _ = full_batch_training(classifier, line_search)
    before = [p.detach().clone() for p in classifier.parameters()]
    calls = iter(range(1, 1000))
    classifier.out_head.register_forward_hook(
        lambda module, inputs, out: out * (torch.nan if next(calls) >= call else 1)
    )
    with pytest.raises(NonFiniteLossError, match="at step 7"):
        training.train(TrainBatch(7, 7, tuple(range(6)), update=True))
    for parameter, value in zip(classifier.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


def test_full_batch_schedule_has_one_step_in_each_epoch() -> None:
    events = list(full_batch_schedule(8, 4, setup().settings))
    assert [e.step for e in events if isinstance(e, TrainBatch)] == [0, 1, 2, 3]
    assert {e.indices for e in events if isinstance(e, TrainBatch)} == {tuple(range(8))}
    assert [e.step for e in events if isinstance(e, Evaluation)] == [0, 2]
    end = next(e for e in events if isinstance(e, EpochEnd))
    assert end.train == ((0, 1, 2), (3, 4, 5), (6, 7))
    assert end.validation == ((0, 1, 2), (3,))
