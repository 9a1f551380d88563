"""``check_adapter``: what it accepts and refuses."""

from __future__ import annotations

import random

import pytest
import torch
from broken_components import complaint
from torch import Tensor, nn

import clsbench
from clsbench import testing


class Scaled(nn.Module):
    def __init__(self, linear: nn.Linear, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(linear.out_features))
        if fault == "renames":
            self.inner = linear
        else:
            self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if self.fault == "renames":
            return self.inner(x) * self.scale
        if self.fault == "float32":
            x = x + torch.tensor(0.1, dtype=torch.float32).expand_as(x) * (x.dtype == torch.float64)
        if self.fault == "idle":
            return nn.functional.linear(x, self.weight, self.bias)
        return nn.functional.linear(x, self.weight, self.bias) * self.scale


class AdapterUnderTest(clsbench.Adapter, frozen=True):
    """Learns a factor for each logit, with one fault to choose."""

    fault: str = ""

    def apply(self, classifier: nn.Module) -> None:
        head = classifier.out_head
        assert isinstance(head, nn.Linear)
        classifier.out_head = Scaled(head, self.fault)
        if self.fault == "changes":
            with torch.no_grad():
                head.weight.mul_(2)
        if self.fault == "unseeded":
            nn.init.constant_(classifier.out_head.scale, random.random())

    def merge(self, classifier: nn.Module) -> None:
        head = classifier.out_head
        assert isinstance(head, Scaled)
        if self.fault == "merges nothing":
            return
        merged = nn.Linear(head.weight.shape[1], head.weight.shape[0])
        scale = torch.ones_like(head.scale) if self.fault == "merges wrongly" else head.scale
        with torch.no_grad():
            merged.weight.copy_(head.weight * scale[:, None])
            merged.bias.copy_(head.bias * scale)
        classifier.out_head = merged


def test_check_adapter_valid_adapter_passes() -> None:
    testing.check_adapter(AdapterUnderTest())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("renames", "out_head.weight is gone"),
        ("changes", "out_head.weight changed"),
        ("unseeded", "after the same seed differ"),
        ("idle", "out_head.scale trains and has no gradient"),
        ("float32", "in float64"),
        ("merges nothing", "merged, it leaves or removes parameters: ['out_head.scale']"),
        ("merges wrongly", "merged, its classifier returns other logits"),
    ],
)
def test_check_adapter_broken_adapter_fails(fault: str, said: str) -> None:
    assert said in complaint(AdapterUnderTest(fault))
