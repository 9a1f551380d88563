"""A classifier's double: nothing that is done to it reaches the classifier."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.isolation import double_of, same_draws
from clsbench.model.classifier import Classifier
from tiny_gpt2 import TinyGPT2

IDS, LENGTHS = torch.arange(10).view(2, 5), torch.tensor([5, 3])


def classifier() -> Any:
    torch.manual_seed(0)
    return Classifier(TinyGPT2().build({}), LastToken().build(12), Linear().build(12, 3))


def trained_once(made: Classifier) -> dict[str, Tensor]:
    """The gradients of a step of the double, after which the original has none."""
    double = double_of(made)
    double(IDS, LENGTHS).square().sum().backward()
    assert all(parameter.grad is None for parameter in made.parameters())
    return {n: p.grad for n, p in double.named_parameters() if p.grad is not None}


class Extra:
    """A plugin's own object, which holds a part of the classifier."""

    def __init__(self, part: nn.Module) -> None:
        self.part = part
        self.calls = 0

    def __call__(self, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        """As a hook."""
        self.calls += 1
        return out + self.part(out)

    def hook(self, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        """As a method that is a hook."""
        return self(module, inputs, out)


def by_closure(made: Any, extra: nn.Module) -> None:
    def inner(out: Tensor) -> Tensor:
        result: Tensor = extra(out)
        return result

    made.backbone.trf_blocks[0].register_forward_hook(lambda m, i, out: out + inner(out))


def by_default(made: Any, extra: nn.Module) -> None:
    made.backbone.trf_blocks[0].register_forward_hook(lambda m, i, out, e=extra: out + e(out))


def by_partial(made: Any, extra: nn.Module) -> None:
    def add(what: nn.Module, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        result: Tensor = out + what(out)
        return result

    made.backbone.trf_blocks[0].register_forward_hook(functools.partial(add, extra))


def by_object(made: Any, extra: nn.Module) -> None:
    made.backbone.trf_blocks[0].register_forward_hook(Extra(extra))


def by_method(made: Any, extra: nn.Module) -> None:
    made.backbone.trf_blocks[0].register_forward_hook(Extra(extra).hook)


def by_replacement(made: Any, extra: nn.Module) -> None:
    norm = made.backbone.trf_blocks[0].norm1
    before = norm.forward
    norm.forward = lambda hidden: before(hidden) + extra(hidden)


@pytest.mark.parametrize(
    "attach", [by_closure, by_default, by_partial, by_object, by_method, by_replacement]
)
def test_what_a_function_holds_is_the_doubles_own(attach: Any) -> None:
    made = classifier()
    made.backbone.extra = nn.Linear(12, 12)
    attach(made, made.backbone.extra)
    gradients = trained_once(made)
    assert gradients["backbone.extra.weight"].abs().max() > 0
    made(IDS, LENGTHS).square().sum().backward()
    for name, parameter in made.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], parameter.grad)


def test_weights_are_shared_and_buffers_are_not() -> None:
    made = classifier()
    made.backbone.register_buffer("seen", torch.zeros(()))
    made.out_head.weight.requires_grad_(False)
    double: Any = double_of(made)
    for one, other in zip(made.parameters(), double.parameters(), strict=True):
        assert one is not other
        assert one.data_ptr() == other.data_ptr()
        assert one.requires_grad == other.requires_grad
    double.out_head.weight.requires_grad_(True)
    double.backbone.seen += 1
    assert not made.out_head.weight.requires_grad
    assert made.backbone.seen == 0


def test_tied_weights_stay_tied() -> None:
    made = classifier()
    made.backbone.again = made.backbone.tok_emb
    double: Any = double_of(made)
    assert double.backbone.again is double.backbone.tok_emb
    made.out_head.second = made.out_head.weight
    double = double_of(made)
    assert double.out_head.second is double.out_head.weight


def test_weights_that_a_hook_makes_anew_can_be_copied() -> None:
    made = classifier()
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(made.out_head)
    made(IDS, LENGTHS)
    assert trained_once(made)["out_head.weight_g"].abs().max() > 0


def test_all_generators_go_on_as_if_nothing_had_been() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), random.random(), float(np.random.random())]

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with same_draws(torch.device("cpu")):
        first = draw()
    assert draw() == first
