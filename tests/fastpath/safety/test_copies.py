"""Copies of a classifier do not affect the original."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from tiny_gpt2 import TinyGPT2
from torch import Tensor, nn

from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.safety.copies import copy_of, same_draws
from clsbench.model.classifier import Classifier

IDS, LENGTHS = torch.arange(10).view(2, 5), torch.tensor([5, 3])


def classifier() -> Any:
    torch.manual_seed(0)
    return Classifier(TinyGPT2().build({}), LastToken().build(12), Linear().build(12, 3))


def test_copy_shares_weights_and_has_its_own_flags_gradients_and_buffers() -> None:
    made = classifier()
    made.backbone.register_buffer("seen", torch.zeros(()))
    made.out_head.weight.requires_grad_(False)
    copied: Any = copy_of(made)
    for one, other in zip(made.parameters(), copied.parameters(), strict=True):
        assert one is not other
        assert one.data_ptr() == other.data_ptr()
        assert one.requires_grad == other.requires_grad
    copied.out_head.weight.requires_grad_(True)
    copied.backbone.seen += 1
    copied(IDS, LENGTHS).square().sum().backward()
    assert copied.out_head.weight.grad is not None
    assert not made.out_head.weight.requires_grad
    assert made.backbone.seen == 0
    assert all(parameter.grad is None for parameter in made.parameters())


def test_copy_keeps_tied_weights_and_methods_together() -> None:
    made = classifier()
    made.backbone.again = made.backbone.tok_emb
    made.out_head.second = made.out_head.weight
    made.out_head.method = made.backbone.stages
    copied: Any = copy_of(made)
    assert copied.backbone.again is copied.backbone.tok_emb
    assert copied.out_head.second is copied.out_head.weight
    assert copied.out_head.method.__self__ is copied.backbone


def test_copy_keeps_hooks_on_gradients() -> None:
    made = classifier()
    made.out_head.weight.register_hook(lambda gradient: gradient * 0)

    def forget(bias: Tensor) -> None:
        assert bias.grad is not None
        bias.grad.zero_()

    made.out_head.bias.register_post_accumulate_grad_hook(forget)
    copied: Any = copy_of(made)
    copied(IDS, LENGTHS).square().sum().backward()
    assert not copied.out_head.weight.grad.any()
    assert not copied.out_head.bias.grad.any()


def test_copy_of_parametrised_weights_computes_the_same() -> None:
    made = classifier()
    nn.utils.parametrizations.weight_norm(made.out_head)
    copied: Any = copy_of(made)
    assert torch.equal(copied(IDS, LENGTHS), made(IDS, LENGTHS))


def test_same_draws_restores_all_generators() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), random.random(), float(np.random.random())]

    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    with same_draws(torch.device("cpu")):
        first = draw()
    assert draw() == first
