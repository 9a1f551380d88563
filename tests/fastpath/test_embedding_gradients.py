"""Gradients of embedding tables on the CPU equal those of torch; other devices keep torch's."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from clsbench.fastpath.embedding_gradients import rows_of_gradients

ROWS, WIDTH = 9, 4


class Tied(nn.Module):
    """Reads a table by row, and multiplies by it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.table(ids) @ self.table.weight.T
        return scores


def read(module: nn.Module, ids: Tensor) -> None:
    """A backward pass in which every row read has a gradient of its own."""
    out = module(ids)
    (out * torch.arange(1.0, out.numel() + 1).view_as(out).sin()).sum().backward()


@given(batches=st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=12), min_size=1))
def test_spread_gives_the_gradients_of_torch(batches: list[list[int]]) -> None:
    table = nn.Embedding(ROWS, WIDTH)
    expected = []
    for batch in batches:
        read(table, torch.tensor(batch))
        assert table.weight.grad is not None
        expected.append(table.weight.grad)
        table.weight.grad = None
    with rows_of_gradients(table) as gradients:
        for batch, dense in zip(batches, expected, strict=True):
            read(table, torch.tensor(batch))
            gradients.spread()
            assert table.weight.grad is not None
            assert torch.equal(table.weight.grad, dense)
            table.weight.grad = None


def test_spread_reuses_memory_and_gets_sparse_gradients() -> None:
    table = nn.Embedding(ROWS, WIDTH)
    with rows_of_gradients(table) as gradients:
        read(table, torch.tensor([3, 3, 5]))
        assert table.weight.grad is not None
        assert table.weight.grad._values().shape == (3, WIDTH)
        gradients.spread()
        first = table.weight.grad
        table.weight.grad = None
        read(table, torch.tensor([1]))
        gradients.spread()
        assert table.weight.grad.data_ptr() == first.data_ptr()
    assert not table.sparse


def test_spread_with_accumulated_batches_adds_them() -> None:
    table = nn.Embedding(ROWS, WIDTH)
    for ids in ([0, 3], [3, 7]):
        read(table, torch.tensor(ids))
    expected, table.weight.grad = table.weight.grad, None
    with rows_of_gradients(table) as gradients:
        for ids in ([0, 3], [3, 7]):
            read(table, torch.tensor(ids))
        gradients.spread()
    torch.testing.assert_close(table.weight.grad, expected)


def test_spread_with_tied_weights_keeps_the_dense_gradient() -> None:
    torch.manual_seed(1)
    tied = Tied()
    read(tied, torch.tensor([1, 2]))
    expected, tied.table.weight.grad = tied.table.weight.grad, None
    with rows_of_gradients(tied) as gradients:
        read(tied, torch.tensor([1, 2]))
        gradients.spread()
    torch.testing.assert_close(tied.table.weight.grad, expected)


def test_rows_of_gradients_with_special_tables_leaves_them_unchanged() -> None:
    hooked = nn.Embedding(ROWS, WIDTH)
    hooked.weight.register_hook(lambda gradient: gradient)
    others = [
        nn.Embedding(ROWS, WIDTH, max_norm=1.0),
        nn.Embedding(ROWS, WIDTH, scale_grad_by_freq=True),
        nn.Embedding(ROWS, WIDTH, device="meta"),
        hooked,
    ]
    already = nn.Embedding(ROWS, WIDTH, sparse=True)
    with rows_of_gradients(nn.ModuleList([*others, already])):
        assert not any(table.sparse for table in others)
    assert already.sparse
