"""Peak memory against allocations of known size."""

from __future__ import annotations

import sys

import pytest
import torch

from clsbench.bench.memory import peak_memory

CPU = torch.device("cpu")
MEGABYTE = 10**6


def allocate(megabytes: int) -> torch.Tensor:
    return torch.ones(megabytes * MEGABYTE, dtype=torch.uint8)


def test_peak_memory_counts_simultaneous_allocations() -> None:
    def one_after_another() -> None:
        for _ in range(3):
            allocate(40)

    def side_by_side() -> None:
        kept = [allocate(40) for _ in range(3)]
        del kept

    assert peak_memory(one_after_another, CPU).allocated == pytest.approx(40 * MEGABYTE, rel=0.01)
    assert peak_memory(side_by_side, CPU).allocated == pytest.approx(120 * MEGABYTE, rel=0.01)
    assert peak_memory(lambda: None, CPU).allocated == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_peak_memory_resident_covers_only_the_call() -> None:
    large = peak_memory(lambda: allocate(300), CPU).resident
    small = peak_memory(lambda: allocate(1), CPU).resident
    assert large is not None
    assert small is not None
    assert large - small > 200 * MEGABYTE


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_memory_cuda_reports_allocated_bytes() -> None:
    device = torch.device("cuda")
    found = peak_memory(lambda: torch.ones(64 * 2**20, dtype=torch.uint8, device=device), device)
    assert found.allocated == 64 * 2**20
