"""A classifier's double: nothing that is done to it reaches the classifier."""

from __future__ import annotations

import dataclasses
import functools
import io
import logging
import math
import random
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny_gpt2 import TinyGPT2
from torch import Tensor, nn

from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.isolation import NoDoubleError, double_of, same_draws
from clsbench.model.classifier import Classifier

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


def test_hooks_on_gradients_are_copied_with_what_they_hold() -> None:
    made = classifier()
    scale = [nn.Parameter(torch.zeros(()))]
    made.out_head.scale = scale[0]
    made.out_head.weight.register_hook(lambda gradient: gradient * scale[0])

    def forget(bias: Tensor) -> None:
        assert bias.grad is not None
        bias.grad.zero_()

    made.out_head.bias.register_post_accumulate_grad_hook(forget)
    made.out_head.weight.requires_grad_(False)
    frozen = double_of(made)
    assert not frozen.out_head.weight.requires_grad
    made.out_head.weight.requires_grad_(True)
    gradients = trained_once(made)
    assert not gradients["out_head.weight"].any()
    assert not gradients["out_head.bias"].any()


class Pair(NamedTuple):
    """A tuple with names."""

    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A frozen object without attributes of its own."""

    function: Any


def test_functions_are_copied_wherever_they_stand() -> None:
    made = classifier()
    part = made.out_head
    kept = Pair(Record(lambda out: part(out)), {"again": [functools.partial(lambda p: p, part)]})
    made.backbone.kept = kept
    made.backbone.method = kept.second["again"].copy
    made.backbone.parent = weakref.ref(part)
    double: Any = double_of(made)
    pooled = torch.ones(2, 12)
    double.out_head.register_forward_hook(lambda module, inputs, out: out * 0)
    assert not double.backbone.kept.first.function(pooled).any()
    assert double.backbone.kept.second["again"][0]() is double.out_head
    assert double.backbone.method()[0]() is double.out_head
    assert double.backbone.parent() is double.out_head
    assert made.backbone.kept.first.function(pooled).any()


def test_what_lies_outside_is_kept_and_what_is_used_up_is_refused() -> None:
    made = classifier()
    outside = [threading.Lock(), math, logging.getLogger("a"), io.StringIO, len]
    made.backbone.outside = outside
    assert double_of(made).backbone.outside == outside
    made.backbone.numbers = (number for number in range(3))
    with pytest.raises(TypeError, match="generator"):
        double_of(made)


def test_a_class_whose_methods_take_a_part_from_around_it_is_refused() -> None:
    made = classifier()
    inner = made.out_head

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pooled: Tensor) -> Tensor:
            result: Tensor = self.inner(pooled)
            return result

    class Careless(Outer):
        def forward(self, pooled: Tensor) -> Tensor:
            result: Tensor = inner(pooled)
            return result

    made.out_head = Outer()
    assert trained_once(made)["out_head.inner.weight"].abs().max() > 0
    made.out_head = Careless()
    with pytest.raises(
        NoDoubleError, match=r"Careless, a class made .* hold a module, a parameter or"
    ):
        double_of(made)


def test_all_generators_go_on_as_if_nothing_had_been() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), random.random(), float(np.random.random())]

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with same_draws(torch.device("cpu")):
        first = draw()
    assert draw() == first
