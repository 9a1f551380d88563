"""Gradients of embedding tables equal those of torch."""

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


def assert_same_sums(found: Tensor, expected: Tensor) -> None:
    """On the CPU bitwise equal; CUDA adds the gradients of a row in another order."""
    if found.is_cuda:
        torch.testing.assert_close(found, expected)
    else:
        assert torch.equal(found, expected)


def read(module: nn.Module, ids: Tensor) -> None:
    """A backward pass in which every row read has a gradient of its own."""
    out = module(ids)
    (
        out * torch.arange(1.0, out.numel() + 1, device=out.device).view_as(out).sin()
    ).sum().backward()


@given(batches=st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=12), min_size=1))
def test_spread_gives_the_gradients_of_torch(
    batches: list[list[int]], device: torch.device
) -> None:
    table = nn.Embedding(ROWS, WIDTH, device=device)
    expected = []
    for batch in batches:
        read(table, torch.tensor(batch, device=device))
        assert table.weight.grad is not None
        expected.append(table.weight.grad)
        table.weight.grad = None
    with rows_of_gradients(table) as gradients:
        for batch, dense in zip(batches, expected, strict=True):
            read(table, torch.tensor(batch, device=device))
            gradients.spread()
            assert table.weight.grad is not None
            assert_same_sums(table.weight.grad, dense)
            table.weight.grad = None


def test_spread_reuses_memory_and_gets_sparse_gradients(device: torch.device) -> None:
    table = nn.Embedding(ROWS, WIDTH, device=device)
    with rows_of_gradients(table) as gradients:
        read(table, torch.tensor([3, 3, 5], device=device))
        assert table.weight.grad is not None
        assert table.weight.grad._values().shape == (3, WIDTH)
        gradients.spread()
        first = table.weight.grad
        table.weight.grad = None
        read(table, torch.tensor([1], device=device))
        gradients.spread()
        assert table.weight.grad.data_ptr() == first.data_ptr()
    assert not table.sparse


def test_spread_with_accumulated_batches_adds_them(device: torch.device) -> None:
    table = nn.Embedding(ROWS, WIDTH, device=device)
    for ids in ([0, 3], [3, 7]):
        read(table, torch.tensor(ids, device=device))
    expected, table.weight.grad = table.weight.grad, None
    with rows_of_gradients(table) as gradients:
        for ids in ([0, 3], [3, 7]):
            read(table, torch.tensor(ids, device=device))
        gradients.spread()
    torch.testing.assert_close(table.weight.grad, expected)


def test_spread_with_tied_weights_keeps_the_dense_gradient(device: torch.device) -> None:
    torch.manual_seed(1)
    tied = Tied().to(device)
    read(tied, torch.tensor([1, 2], device=device))
    expected, tied.table.weight.grad = tied.table.weight.grad, None
    with rows_of_gradients(tied) as gradients:
        read(tied, torch.tensor([1, 2], device=device))
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
