from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from clsbench.builtin.losses import BinaryCrossEntropy, CrossEntropy, Focal

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 1, 2, 0])


def test_cross_entropy_by_default_is_that_of_torch_bit_for_bit() -> None:
    found = CrossEntropy().build((4, 1, 1))(LOGITS, LABELS)
    assert torch.equal(found, F.cross_entropy(LOGITS, LABELS))


def test_cross_entropy_label_smoothing_is_that_of_torch() -> None:
    found = CrossEntropy(label_smoothing=0.2).build((4, 1, 1))(LOGITS, LABELS)
    assert torch.equal(found, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.2))


def test_cross_entropy_balanced_gives_every_class_the_same_weight() -> None:
    found = CrossEntropy(class_weights="balanced").build((4, 1, 1))(LOGITS, LABELS)
    losses = F.cross_entropy(LOGITS, LABELS, reduction="none")
    by_class = [losses[label == LABELS].mean() for label in range(3)]
    assert float(found) == pytest.approx(float(sum(by_class)) / 3)


def test_cross_entropy_balanced_class_without_texts_has_no_weight() -> None:
    function = CrossEntropy(class_weights="balanced").build((4, 0, 2))
    labels = torch.tensor([0, 2, 0])
    assert function(LOGITS[:3], labels).isfinite()


def test_cross_entropy_balanced_in_bfloat16_keeps_single_precision_weights() -> None:
    logits = LOGITS.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = CrossEntropy(class_weights="balanced").build((400, 1, 1))(logits, LABELS)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_focal_with_gamma_0_is_cross_entropy(weights: Literal["none", "balanced"]) -> None:
    focal = Focal(gamma=0.0, class_weights=weights).build((4, 1, 1))
    entropy = CrossEntropy(class_weights=weights).build((4, 1, 1))
    assert float(focal(LOGITS, LABELS)) == pytest.approx(float(entropy(LOGITS, LABELS)))


def test_focal_loss_of_each_text_is_the_formula_of_the_paper() -> None:
    found = Focal(gamma=2.0).build((4, 1, 1))(LOGITS, LABELS)
    p = LOGITS.softmax(dim=-1)[range(6), LABELS]
    assert float(found) == pytest.approx(float((-((1 - p) ** 2) * p.log()).mean()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradient_of_a_certain_text_is_finite(gamma: float) -> None:
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    Focal(gamma=gamma).build((1, 1))(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_binary_cross_entropy_equals_the_mean_over_texts_and_labels() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]]).bool()
    loss = BinaryCrossEntropy().build((3, 2, 2))(logits, labels)
    chosen = torch.where(labels, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(loss, -chosen.log().mean())
    expected = F.binary_cross_entropy_with_logits(logits, labels.float())
    assert torch.equal(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, (logits.sigmoid() - labels.float()).detach() / 15)
