"""Components that break an assumption of the fast path: the run gives the plain numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from altered_classifiers import Change, assert_same, block, both
from torch import Tensor, nn
from trial_components import (
    FollowsInPlace,
    average_in_a_parameter,
    behind,
    device_of,
    initialise_by_the_first_batch,
)

import clsbench
from clsbench.builtin.freezing_strategies import All, LastBlocks
from clsbench.builtin.poolings import LastRealToken, LastToken


class Standardises(nn.Module):
    """Uses the statistics of its batch, in training and evaluation."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden - 0.5 * hidden.mean(0, keepdim=True)


class FollowsByReplacing(FollowsInPlace):
    """Scales by a moving average that is replaced by a new tensor each time."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        with torch.no_grad():
            self.largest = 0.9 * self.largest + 0.1 * hidden.detach().abs().amax()
        return hidden * self.largest


class ByMode(nn.Module):
    """Runs the same operations with other values in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.tensor(1.0))
        self.register_buffer("other", torch.tensor(1.2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * (self.one if self.training else self.other)


class SameMemory(nn.Module):
    """Returns all outputs in the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[object, Tensor] = {}

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        if hidden.requires_grad:
            return hidden
        kind = (hidden.shape[1:], hidden.device)
        if len(self.memory.get(kind, ())) < len(hidden):
            self.memory[kind] = torch.empty_like(hidden)
        return self.memory[kind][: len(hidden)].copy_(hidden)


class DropsByPython(nn.Module):
    """Drops values at random, with its own Python generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(4)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * 0.5 if self.training and self.generator.random() < 0.1 else hidden


class DropsByNumPy(nn.Module):
    """Drops values at random, with a NumPy generator in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = [np.random.default_rng(3)]

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and self.generators[0].random() < 0.1
        return hidden * 0.5 if drops else hidden


class DropsWithWeights(nn.Module):
    """Draws random numbers, but not on the meta device."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and not hidden.is_meta and torch.rand(()).item() < 0.05
        return hidden * 0.5 if drops else hidden


class Later(nn.Module):
    """Rounds after its seventh call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        self.steps += self.training
        return (hidden * 16).round() / 16 if self.steps > 6 else hidden


class Coarse(nn.Linear):
    """Computes with rounded weights if they are frozen."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 48)."""
        weight = self.weight if self.weight.requires_grad else (self.weight * 32).round() / 32
        return nn.functional.linear(hidden, weight, self.bias)


def round_frozen_weights(classifier: Any) -> None:
    for index in range(3):
        block(classifier, index).ff.layers[0].__class__ = Coarse


def hand_over(classifier: Any) -> None:
    """Add a connection from the first block to the third, past the second."""
    kept: dict[str, Tensor] = {}
    block(classifier, 0).register_forward_hook(lambda m, i, out: kept.__setitem__("hidden", out))
    block(classifier, 2).register_forward_pre_hook(lambda m, i: i[0] + 0.3 * kept["hidden"])


def count_tokens(classifier: Any) -> None:
    classifier.backbone.tok_emb.scale_grad_by_freq = True


def pad_with_a_parameter(classifier: Any) -> None:
    """Add a parameter that only padded texts read."""
    backbone = classifier.backbone
    backbone.pad = nn.Parameter(torch.zeros(12, device=device_of(classifier)))

    def pad(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out + backbone.pad if out.dim() == 3 else out

    backbone.tok_emb.register_forward_hook(pad)


def centre_by_the_head(classifier: Any) -> None:
    """Make the first block read a moving average that the head updates."""
    backbone = classifier.backbone
    backbone.register_buffer("centre", torch.zeros(12, device=device_of(classifier)))
    block(classifier, 0).register_forward_hook(lambda module, i, out: out - backbone.centre)

    def follow(module: Any, inputs: Any) -> None:
        if module.training:
            with torch.no_grad():
                mean = inputs[0].reshape(-1, 12).mean(0)
                backbone.centre.data.mul_(0.9999).add_(mean * 0.0001)

    classifier.out_head.register_forward_pre_hook(follow)


def follow_as_a_teacher(classifier: Any) -> None:
    teacher, student = block(classifier, 0).ff, block(classifier, 2).ff

    def follow(*_: Any) -> None:
        with torch.no_grad():
            for one, other in zip(teacher.parameters(), student.parameters(), strict=True):
                one.lerp_(other, 0.01)

    block(classifier, 2).register_forward_hook(follow)


def shrink_by_a_gradient_hook(classifier: Any) -> None:
    shrunk, trained = (block(classifier, index).ff.layers[0].weight for index in (0, 2))

    def shrink(parameter: Tensor) -> None:
        shrunk.data.mul_(0.999)

    trained.register_post_accumulate_grad_hook(shrink)


def add_noise_to_gradients(classifier: Any) -> None:
    for parameter in classifier.parameters():
        if not parameter.is_meta:
            parameter.register_hook(lambda g: g + g.abs().mean() * torch.randn_like(g))


def centre_many(classifier: Any) -> None:
    """Subtract the batch mean, but only for three texts or more."""
    block(classifier, 0).register_forward_hook(
        lambda m, i, out: out - 0.3 * out.mean(0, keepdim=True) if len(out) >= 3 else out
    )


def open_a_gate_later(classifier: Any) -> None:
    """Add a gate, initially closed, for the mean over a batch."""
    head = classifier.out_head
    head.gate = nn.Parameter(torch.zeros((), device=device_of(classifier)))
    head.register_forward_pre_hook(
        lambda module, inputs: inputs[0] + module.gate * inputs[0].mean(0, keepdim=True)
    )


def halve_by_a_parametrization(classifier: Any) -> None:
    class Halves(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    nn.utils.parametrize.register_parametrization(
        block(classifier, 1).ff.layers[0], "weight", Halves()
    )


class AllThenLast(clsbench.FreezingStrategy):
    """Trains everything in the first epoch, the last block afterwards."""

    def trainable(self, parameters: Any) -> list[str]:
        """The parameters of the first epoch: all."""
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Any, epoch: int) -> list[str]:
        """All parameters at first."""
        return [p.name for p in parameters if not epoch or p.stage == "block.2"]


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [
        (LastBlocks(), LastToken()),
        pytest.param(All(), LastRealToken(), marks=pytest.mark.slow),
        pytest.param(AllThenLast(), LastToken(), marks=pytest.mark.slow),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(behind(0, Standardises), id="batch statistics below the cut"),
        pytest.param(behind(2, Standardises), id="batch statistics above the cut"),
        pytest.param(behind(0, FollowsInPlace), id="a moving average in place"),
        pytest.param(behind(0, FollowsByReplacing), id="a moving average that is replaced"),
        pytest.param(behind(0, ByMode), id="other numbers in training"),
        pytest.param(behind(1, SameMemory), id="one piece of memory"),
        pytest.param(behind(0, DropsByPython), id="a Python generator"),
        pytest.param(behind(0, DropsByNumPy), id="a NumPy generator in a list"),
        pytest.param(behind(0, DropsWithWeights), id="draws that the plan does not find"),
        pytest.param(behind(0, Later), id="a step count"),
        round_frozen_weights,
        hand_over,
        count_tokens,
        pad_with_a_parameter,
        centre_by_the_head,
        average_in_a_parameter,
        initialise_by_the_first_batch,
        shrink_by_a_gradient_hook,
        add_noise_to_gradients,
        centre_many,
        open_a_gate_later,
        halve_by_a_parametrization,
    ],
)
def test_fast_path_with_a_hostile_component_gives_the_plain_numbers(
    change: Change,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling,
    device: torch.device,
) -> None:
    plain, fast = both(change, freezing, pooling, epochs=3, trial=True, device=device)
    assert_same(plain, fast)
    for name, weights in plain.weights.items():
        if not name.endswith("W_key.bias"):  # its gradient is zero but for rounding
            torch.testing.assert_close(fast.weights[name], weights, rtol=0, atol=1e-8)
    for split, logits in plain.logits.items():
        torch.testing.assert_close(fast.logits[split], logits, rtol=1e-9, atol=1e-9)


def test_fast_path_with_a_mean_teacher_gives_the_plain_numbers(device: torch.device) -> None:
    """The teacher is frozen; otherwise torch refuses its backward pass."""
    assert_same(*both(follow_as_a_teacher, LastBlocks(), epochs=3, trial=True, device=device))
