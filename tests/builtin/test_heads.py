from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

from clsbench.builtin.heads import Linear, Mlp


def test_linear_seeded_weights_equal_torch_linear() -> None:
    torch.manual_seed(123)
    expected = nn.Linear(768, 2)
    torch.manual_seed(123)
    head = Linear().build(768, 2)
    assert isinstance(head, nn.Linear)
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)
    assert sum(p.numel() for p in head.parameters()) == 1_538


def test_mlp_width_defaults_to_the_backbones() -> None:
    shapes = [tuple(p.shape) for p in Mlp().build(6, 3).parameters()]
    assert shapes == [(6, 6), (6,), (3, 6), (3,)]
    shapes = [tuple(p.shape) for p in Mlp(width=2).build(6, 3).parameters()]
    assert shapes == [(2, 6), (2,), (3, 2), (3,)]


def test_mlp_is_nonlinear() -> None:
    head = Mlp().build(4, 2)
    x = torch.eye(4)
    bias = head(torch.zeros(1, 4))
    assert not torch.allclose(head(2 * x) - bias, 2 * (head(x) - bias), atol=1e-4)


def test_mlp_dropout_acts_only_in_training() -> None:
    torch.manual_seed(0)
    head = Mlp(width=64, dropout=0.5).build(8, 2)
    x = torch.ones(1, 8)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


@pytest.mark.parametrize("options", [{"dropout": 1.0}, {"dropout": -0.1}, {"width": 0}])
def test_mlp_invalid_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Mlp)
