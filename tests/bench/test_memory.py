"""Peak memory against allocations of known size."""

from __future__ import annotations

import sys

import pytest
import torch

from clsbench.bench.memory import peak_memory

CPU = torch.device("cpu")
MEGABYTE = 10**6


def allocate(megabytes: int, device: torch.device = CPU) -> torch.Tensor:
    return torch.ones(megabytes * MEGABYTE, dtype=torch.uint8, device=device)


def test_peak_memory_counts_simultaneous_allocations(device: torch.device) -> None:
    def one_after_another() -> None:
        for _ in range(3):
            allocate(40, device)

    def side_by_side() -> None:
        kept = [allocate(40, device) for _ in range(3)]
        del kept

    assert peak_memory(one_after_another, device).allocated == pytest.approx(
        40 * MEGABYTE, rel=0.01
    )
    assert peak_memory(side_by_side, device).allocated == pytest.approx(120 * MEGABYTE, rel=0.01)
    assert peak_memory(lambda: None, device).allocated == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_peak_memory_resident_covers_only_the_call() -> None:
    large = peak_memory(lambda: allocate(300), CPU).resident
    small = peak_memory(lambda: allocate(1), CPU).resident
    assert large is not None
    assert small is not None
    assert large - small > 200 * MEGABYTE


def test_peak_memory_of_whole_blocks_is_exact(device: torch.device) -> None:
    """CUDA's allocator gives out multiples of 512 bytes."""
    found = peak_memory(lambda: torch.ones(2**26, dtype=torch.uint8, device=device), device)
    assert found.allocated == 2**26
