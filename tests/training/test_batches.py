"""Training on batches: losses that are not finite, and ignored labels."""

from __future__ import annotations

import pytest
import torch
from fast_and_plain import random_splits
from recipes import make_recipe
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.embedding_gradients import RowGradients, rows_of_gradients
from clsbench.fastpath.forward import PlainForward
from clsbench.model.classifier import Classifier
from clsbench.schema.training import TrainSettings
from clsbench.training.batches import BatchTraining, NonFiniteLossError
from clsbench.training.log import TrainingLog
from clsbench.training.schedule import TrainBatch


@pytest.mark.parametrize("looks_later", [False, True])
def test_batch_training_non_finite_loss_keeps_the_weights_before_the_step(
    looks_later: bool, device: torch.device
) -> None:
    """``looks_later``: the loss is read later, as on CUDA."""
    classifier = make_classifier(device)
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    forward = PlainForward(classifier, splits.by_name(), device, "fp32")
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, fused=True)
    recipe = make_recipe(TrainSettings(batch_size=2))
    batches = BatchTraining(forward, optimizer, recipe, TrainingLog(), RowGradients())
    batches._looks_later = looks_later
    expected = ""
    before: list[torch.Tensor] = []
    try:
        for step in range(6):
            if step == 3:
                before = [p.detach().clone() for p in classifier.parameters()]
                classifier.out_head.register_forward_hook(
                    lambda module, inputs, out: out * torch.inf
                )
            batches.train(TrainBatch(step, 0, (0, 1), update=True))
        batches.settle()
    except NonFiniteLossError as error:
        expected = str(error)
    assert "at step 3" in expected
    assert before
    for parameter, value in zip(classifier.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


def make_classifier(device: torch.device) -> Classifier:
    torch.manual_seed(1)
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 3))
    return classifier.to(device)


def train_batches(
    device: torch.device,
    batches: list[tuple[int, ...]],
    ignore_index: int = -100,
    accumulation: int = 1,
) -> tuple[list[torch.Tensor], list[float]]:
    """The weights after training on the batches, and the losses; labels are 0, 1, 2, 0, 1, 2."""
    classifier = make_classifier(device)
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    splits.train.labels[:] = torch.tensor([0, 1, 2, 0, 1, 2])
    forward = PlainForward(classifier, splits.by_name(), device, "fp32")
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-2, fused=True)
    settings = TrainSettings(batch_size=2, ignore_index=ignore_index, accumulation=accumulation)
    recipe = make_recipe(settings)
    training = BatchTraining(forward, optimizer, recipe, TrainingLog(), RowGradients())
    reports = [
        training.train(TrainBatch(step, 0, indices, update=(step + 1) % accumulation == 0))
        for step, indices in enumerate(batches)
    ]
    training.settle()
    weights = [parameter.detach().clone() for parameter in classifier.parameters()]
    return weights, [report.loss() for report in reports]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def test_batch_training_batch_of_ignored_labels_has_loss_0_and_makes_no_step(
    device: torch.device,
) -> None:
    weights, losses = train_batches(device, [(0, 1), (2, 5), (3, 4), (2, 5)], ignore_index=2)
    assert losses[1] == losses[3] == 0.0
    assert min(losses[0], losses[2]) > 0
    assert same(weights, train_batches(device, [(0, 1), (3, 4)])[0])  # not even weight decay


def test_batch_training_accumulation_window_with_one_counted_batch_makes_a_step(
    device: torch.device,
) -> None:
    batches = [(0, 1), (2, 5), (2, 5), (2, 5), (2, 5), (3, 4)]
    weights, losses = train_batches(device, batches, ignore_index=2, accumulation=2)
    assert losses[1:5] == [0.0] * 4
    before, _ = train_batches(device, [])
    assert not same(weights, before)
    # The window in the middle makes no step.
    assert same(weights, train_batches(device, batches[:2] + batches[4:], 2, accumulation=2)[0])


def test_batch_training_ignored_index_beyond_the_classes_changes_nothing(
    device: torch.device,
) -> None:
    batches = [(0, 1), (2, 5), (3, 4)]
    assert same(
        train_batches(device, batches)[0], train_batches(device, batches, ignore_index=50256)[0]
    )


@pytest.mark.parametrize("largest", [0.0, 0.01, 1e6])
def test_batch_training_gradient_clipping_limits_the_norm_of_a_step(
    largest: float, device: torch.device
) -> None:
    classifier = make_classifier(device)
    before = torch.cat([p.detach().flatten() for p in classifier.parameters()])
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    forward = PlainForward(classifier, splits.by_name(), device, "fp32")
    recipe = make_recipe(TrainSettings(lr=1.0, gradient_clipping=largest, accumulation=2))
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1.0)
    with rows_of_gradients(classifier) as gradients:  # the embedding's gradients count too
        training = BatchTraining(forward, optimizer, recipe, TrainingLog(), gradients)
        training.train(TrainBatch(0, 0, (0, 1, 2), update=False))
        training.train(TrainBatch(1, 0, (3, 4, 5), update=True))
    after = torch.cat([p.detach().flatten() for p in classifier.parameters()])
    norm = float((after - before).norm())
    if largest == 0.01:
        assert norm == pytest.approx(0.01, rel=1e-3)
    else:
        assert norm > 0.05


def test_batch_training_factors_scale_each_step(device: torch.device) -> None:
    classifier = make_classifier(device)
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    forward = PlainForward(classifier, splits.by_name(), device, "fp32")
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1.0)
    recipe = make_recipe(TrainSettings(lr=1.0), factors=(0.0, 1.0))
    training = BatchTraining(forward, optimizer, recipe, TrainingLog(), RowGradients())
    weights = [[p.detach().clone() for p in classifier.parameters()]]
    for step in range(2):
        training.train(TrainBatch(step, 0, (0, 1), update=True))
        weights.append([p.detach().clone() for p in classifier.parameters()])
    assert same(weights[0], weights[1])
    assert not same(weights[1], weights[2])
