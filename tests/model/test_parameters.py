"""Descriptions of parameters, modules without weights, and checks for finite values."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from clsbench import UsageError, describe_parameters, without_weights
from clsbench.model.parameters import refuse_non_finite


class Tied(nn.Module):
    """An output layer that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.LayerNorm(3)
        self.out = nn.Linear(3, 5)
        self.out.weight = self.embedding.weight


def test_describe_parameters_tied_parameters_are_listed_once() -> None:
    infos = describe_parameters(Tied(), lambda name: name.partition(".")[0])
    assert [(info.name, info.stage, info.role, info.shape) for info in infos] == [
        ("embedding.weight", "embedding", "embedding", (5, 3)),
        ("norm.weight", "norm", "norm", (3,)),
        ("norm.bias", "norm", "norm", (3,)),
        ("out.bias", "out", "bias", (5,)),
    ]


def test_without_weights_keeps_shapes_and_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    with without_weights():
        module = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2), nn.MultiheadAttention(4, 2))
    assert all(parameter.is_meta for parameter in module.parameters())
    real = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2), nn.MultiheadAttention(4, 2))
    assert {n: p.shape for n, p in module.named_parameters()} == {
        n: p.shape for n, p in real.named_parameters()
    }
    torch.set_rng_state(state)
    with without_weights():
        nn.Linear(3, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_weights_does_not_import_dynamo() -> None:
    code = (
        "import sys, clsbench; from torch import nn\n"
        "with clsbench.without_weights(): nn.Linear(3, 3); nn.Embedding(3, 3)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_refuse_non_finite_names_the_parameter(dtype: torch.dtype, value: str) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    refuse_non_finite(module, "refused")
    with torch.no_grad():
        module[1].weight[0, :2] = float(value)
    with pytest.raises(
        UsageError, match=r"^refused: 2 of the 8 values of 1\.weight are not finite"
    ):
        refuse_non_finite(module, "refused")


def test_refuse_non_finite_large_numbers_and_masks_are_accepted() -> None:
    """A sum may overflow although every number is finite; a mask in a buffer may be infinite."""
    module = nn.Linear(3, 4)
    module.register_buffer("mask", torch.full((3, 3), float("-inf")))
    with torch.no_grad():
        module.weight.fill_(3e38)
    refuse_non_finite(module, "refused")
