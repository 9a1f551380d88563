"""Losses, probabilities and decisions from logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clsbench.model.outputs import class_probabilities, correct, mean_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-0.1, 0.0, 3.0]])
CLASSES = torch.tensor([0, 1])
SEVERAL = torch.tensor([[True, False, True], [False, True, False]])


def test_mean_loss_is_that_of_torch_for_the_shape_of_the_labels() -> None:
    assert torch.equal(mean_loss(LOGITS, CLASSES), F.cross_entropy(LOGITS, CLASSES))
    expected = F.binary_cross_entropy(LOGITS.sigmoid().double(), SEVERAL.double())
    torch.testing.assert_close(mean_loss(LOGITS, SEVERAL).double(), expected)


def test_class_probabilities_are_softmax_or_sigmoid() -> None:
    assert torch.equal(class_probabilities(LOGITS, multi_label=False), LOGITS.softmax(dim=-1))
    assert torch.equal(class_probabilities(LOGITS, multi_label=True), LOGITS.sigmoid())


def test_correct_requires_every_class_of_a_text() -> None:
    assert correct(LOGITS, CLASSES).tolist() == [True, False]
    assert correct(LOGITS, SEVERAL).tolist() == [True, False]
