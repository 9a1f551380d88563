"""The contract of a loss: a mean over texts with finite gradients."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from clsbench.components.training_axes import Loss
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import DTYPES, normal

COUNTS = ((5, 5), (1, 99), (7, 0, 3))
"""Training texts by class: balanced, unbalanced, and a class without texts."""


def check_loss(loss: Loss, device: str = "cpu") -> None:
    """Check a loss for its tasks with two and three classes, of which one has few texts or none.

    It maps logits (B, C) and labels, (B,) or (B, C) bool, to a finite scalar in single precision
    or better, with finite gradients, and to the same when called again. It does not depend on the
    order of the texts, is lower for right logits than for wrong ones, and does not change if every
    text is repeated. Its options survive the command line and TOML.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(loss)
    for counts, task in itertools.product(COUNTS, loss.tasks):
        function = loss.build(counts)
        classes = torch.tensor([label for label, count in enumerate(counts) if count] * 3)
        classes = classes.to(device)
        present = torch.nn.functional.one_hot(classes, len(counts))
        several = task == "multi-label"
        labels = present.bool() if several else classes
        for dtype in DTYPES:
            logits = normal(len(labels), len(counts), dtype=dtype).to(device).requires_grad_()
            value = _value(loss, function(logits, labels), counts)
            (gradient,) = torch.autograd.grad(value, logits)
            require(
                bool(gradient.isfinite().all()) and bool(gradient.any()),
                loss,
                f"its gradient for class counts {counts} is not finite, or 0",
            )
            order = torch.arange(len(labels), device=device).flip(0)
            others = {
                "when called again": (logits, labels),
                "in another order of the texts": (logits[order], labels[order]),
                "if every text is repeated": (logits.repeat(2, 1), torch.cat([labels] * 2)),
            }
            for what, arguments in others.items():
                again = _value(loss, function(*arguments), counts)
                require(
                    torch.allclose(again, value, rtol=1e-4),
                    loss,
                    f"it returns {again.item()} instead of {value.item()} {what}",
                )
            right = (present * 8 - 4 if several else present * 4).to(dtype)
            require(
                bool(function(right, labels) < function(-right, labels)),
                loss,
                "it is not lower for right logits than for wrong ones",
            )
            one = _value(loss, function(logits[:1], labels[:1]), counts)
            require(one.shape == (), loss, "it fails for a single text")


def _value(loss: Loss, value: object, counts: tuple[int, ...]) -> Tensor:
    require(isinstance(value, Tensor), loss, f"it returns {type(value).__name__}, not a tensor")
    assert isinstance(value, Tensor)
    require(value.shape == (), loss, f"it returns the shape {tuple(value.shape)}, expected ()")
    require(
        bool(value.isfinite()) and value.requires_grad,
        loss,
        f"it returns {value.item()} for class counts {counts}, expected a finite value with a "
        "gradient",
    )
    return value
