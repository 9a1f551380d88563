"""``check_head``: what it accepts and refuses."""

from __future__ import annotations

import random

import pytest
import torch
from broken_components import complaint
from torch import Tensor, nn

import clsbench
from clsbench import testing


class HeadModule(nn.Module):
    def __init__(self, hidden_size: int, num_classes: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.linear = nn.Linear(hidden_size, 2 if fault == "binary" else num_classes)
        if fault == "idle":
            self.idle = nn.Parameter(torch.zeros(1))
        if fault == "real-weights":
            self.linear = nn.Linear(hidden_size, num_classes, device="cpu")
        if fault == "unseeded":
            with torch.no_grad():
                self.linear.weight.mul_(random.random())

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.linear(pooled)
        if self.fault == "batch-norm":
            return logits - logits.mean(dim=0, keepdim=True) if len(logits) else logits
        if self.fault == "dropout":
            return nn.functional.dropout(logits, 0.5, training=True)
        if self.fault == "training" and self.training:
            return logits[:, :1]
        return logits


class HeadUnderTest(clsbench.Head, frozen=True):
    """A linear head with one fault to choose."""

    fault: str = ""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return HeadModule(hidden_size, num_classes, self.fault)


def test_check_head_valid_head_passes() -> None:
    testing.check_head(HeadUnderTest())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("binary", "expected (32, 3)"),
        ("idle", "no gradient reaches idle"),
        ("unseeded", "after the same seed differ"),
        ("real-weights", "on the meta device"),
        ("batch-norm", "other texts of its batch"),
        ("dropout", "a second call"),
        ("training", "expected (4, 2)"),
    ],
)
def test_check_head_broken_head_fails(fault: str, said: str) -> None:
    assert said in complaint(HeadUnderTest(fault))
