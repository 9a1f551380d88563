"""``check_pooling``: what it accepts and refuses."""

from __future__ import annotations

import pytest
import torch
from broken_components import complaint
from torch import Tensor, nn

import clsbench
from clsbench import testing


class PoolingModule(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.calls = 0
        if fault == "unseeded":
            self.register_buffer("drawn", torch.tensor(id(self)))

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor | None:
        rows = torch.arange(len(hidden))
        last = hidden[rows, (lengths - 1).clamp(min=0)]
        match self.fault:
            case "shape":
                return last[:, :-1]
            case "dtype":
                return last.float()
            case "none":
                return None
            case "nan":
                return last / lengths.unsqueeze(-1).to(last.dtype)
            case "batch":
                return last - last.mean(dim=0) if len(last) else last
            case "looks":
                return last if bool((lengths >= 0).all()) else last * 2
            case "counter":
                self.calls += 1
                return last + self.calls
            case "reads-more":
                return last + hidden.mean(dim=1)
            case "reads-less":
                return last * 0
            case "padding":
                return last + hidden[:, -1]
            case "length":
                return last + lengths.unsqueeze(-1).to(last.dtype)
            case "infinite-gradient":
                return last.sub(last.detach()).abs().sqrt()
            case "no-gradient":
                return last.detach() + 0 * sum(p.sum() for p in self.parameters())
        return last


class PoolingUnderTest(clsbench.Pooling, frozen=True):
    """The last real token, with one fault to choose."""

    fault: str = ""
    single: bool = True

    def build(self, hidden_size: int) -> nn.Module:
        return PoolingModule(self.fault)

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor | None:
        match self.fault:
            case "positions-dtype":
                return lengths.float()
            case "positions-range":
                return lengths + padded_length
            case "positions-padding":
                return lengths * 0 + padded_length - 1
        return (lengths - 1).clamp(min=0) if self.single else None

    def reads_padding(self) -> bool:
        return False


def test_check_pooling_valid_pooling_passes() -> None:
    testing.check_pooling(PoolingUnderTest())
    testing.check_pooling(PoolingUnderTest(single=False))


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        (PoolingUnderTest("shape"), "expected (4, 8)"),
        (PoolingUnderTest("dtype"), "the dtype must stay"),
        (PoolingUnderTest("none"), "forward returns NoneType"),
        (PoolingUnderTest("nan", single=False), "not finite"),
        (PoolingUnderTest("batch"), "other texts of its batch"),
        (PoolingUnderTest("counter"), "a second call"),
        (PoolingUnderTest("looks"), "on the meta device"),
        (PoolingUnderTest("reads-more"), "depends on other positions"),
        (PoolingUnderTest("reads-less"), "does not depend on the position"),
        (PoolingUnderTest("length"), "given only the position"),
        (PoolingUnderTest("padding", single=False), "other values at padding positions"),
        (PoolingUnderTest("infinite-gradient"), "is not finite"),
        (PoolingUnderTest("unseeded"), "after the same seed differ"),
        (PoolingUnderTest("positions-dtype"), "expected one int64 each"),
        (PoolingUnderTest("positions-range"), "outside a text"),
        (PoolingUnderTest("positions-padding"), "names padding"),
    ],
)
def test_check_pooling_broken_pooling_fails(pooling: clsbench.Pooling, said: str) -> None:
    assert said in complaint(pooling)
