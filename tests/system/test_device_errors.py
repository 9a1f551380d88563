"""Errors of devices are recognised by torch's own types and texts."""

from __future__ import annotations

import pytest
import torch

from clsbench.errors import PluginError
from clsbench.system.device_errors import (
    device_error,
    first_line,
    is_device_failure,
    is_out_of_memory,
)

ASSERT = torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with …")


def test_is_out_of_memory_real_allocation_on_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert not is_device_failure(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        MemoryError(),
    ],
    ids=repr,
)
def test_is_out_of_memory_errors_of_every_device_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_device_failure(error)


@pytest.mark.parametrize(
    "error", [ASSERT, RuntimeError("CUDA error: unspecified launch failure")], ids=repr
)
def test_is_device_failure_cuda_errors_are_recognised(error: Exception) -> None:
    assert is_device_failure(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("CUDA error")]
)
def test_device_error_other_errors_are_not_one(error: Exception) -> None:
    assert device_error(error) is None


def test_device_error_first_of_a_chain_is_returned() -> None:
    memory = torch.OutOfMemoryError("CUDA out of memory.")
    try:
        try:
            raise memory
        finally:
            raise ASSERT
    except RuntimeError as error:
        wrapped = PluginError("an observer failed")
        wrapped.__cause__ = error
    assert device_error(wrapped) is memory


def test_first_line_leaves_out_torchs_advice() -> None:
    assert first_line(ASSERT) == "CUDA error: device-side assert triggered"
    assert first_line(MemoryError()) == "MemoryError"
