"""Changes to a classifier that tests of the trial apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from altered_classifiers import Change, block
from torch import Tensor, nn


def device_of(classifier: Any) -> torch.device:
    device: torch.device = classifier.backbone.tok_emb.weight.device
    return device


def behind(index: int, make: Callable[[], nn.Module]) -> Change:
    """A change that applies a module to the output of a block."""

    def add(classifier: Any) -> None:
        there = block(classifier, index)
        there.extra = make().to(device_of(classifier))
        there.register_forward_hook(lambda module, inputs, out: module.extra(out))

    return add


class FollowsInPlace(nn.Module):
    """Scales by a moving average in a buffer, updated in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        with torch.no_grad():
            self.largest.mul_(0.9).add_(0.1 * hidden.detach().abs().amax())
        return hidden * self.largest


def average_in_a_parameter(classifier: Any) -> None:
    head = classifier.out_head
    head.mean = nn.Parameter(torch.zeros(12, device=head.weight.device), requires_grad=False)

    def follow(module: Any, inputs: Any) -> Tensor:
        if module.training:
            module.mean.data.mul_(0.9).add_(0.1 * inputs[0].detach().mean(0))
        return inputs[0] - module.mean.detach()

    head.register_forward_pre_hook(follow)


def initialise_by_the_first_batch(classifier: Any) -> None:
    head = classifier.out_head
    head.mean = nn.Parameter(torch.zeros(12, device=head.weight.device))
    head.done = False

    def initialise(module: Any, inputs: Any) -> Tensor:
        if module.training and not module.done and not inputs[0].is_meta:
            module.mean.data.copy_(-inputs[0].detach().mean(0))
            module.done = True
        return inputs[0] + module.mean

    head.register_forward_pre_hook(initialise)
