"""Rows of activations for the tests of the cache, the same in every process."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from clsbench.fastpath.disk_cache import PrefixKey

ABOUT = {"backbone": "gpt2:size=small", "cut": "after block.10", "positions": "all"}
KEY = PrefixKey("3f9c" * 16, ABOUT)
OTHER = PrefixKey("77b0" * 16, {"backbone": "other"})
PLENTY = 10**9


def row_key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def make_rows(
    numbers: range, shape: tuple[int, ...] = (3, 4), dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    rows = {}
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        rows[row_key(number)] = torch.randn(shape, generator=generator).to(dtype)
    return rows


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same rows in every bit."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert (found[key].dtype, found[key].shape) == (row.dtype, row.shape)
        assert torch.equal(found[key].view(torch.uint8), row.contiguous().view(torch.uint8))
