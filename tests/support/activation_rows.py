"""Rows of activations for tests of the activation cache, equal in every process."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import torch
from torch import Tensor

from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey

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
    """Check that rows are bitwise equal."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert (found[key].dtype, found[key].shape) == (row.dtype, row.shape)
        assert torch.equal(found[key].view(torch.uint8), row.contiguous().view(torch.uint8))


def store(directory: Path, rows: dict[str, Tensor], key: PrefixKey = KEY) -> Path:
    """Store the rows as an earlier run would; return their shard."""
    before = set(shards(directory))
    assert_same(DiskCache(directory, PLENTY).store(key, rows), rows)
    (path,) = set(shards(directory)) - before
    return path


def shards(directory: Path) -> list[Path]:
    """The shards of a cache."""
    return sorted(directory.glob("*/*.safetensors"))


def age(path: Path, seconds: float) -> None:
    """Set the time of last use to ``seconds`` ago."""
    os.utime(path, (time.time() - seconds,) * 2)


def sizes(directory: Path) -> int:
    """The total size of the files in bytes."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
