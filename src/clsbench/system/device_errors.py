"""Errors of devices: memory that is used up, and devices that fail."""

from __future__ import annotations

from collections.abc import Iterator

_NO_MEMORY = (
    "out of memory",  # CUDA, ROCm, MPS
    "can't allocate memory",  # the CPU, as a plain RuntimeError
    "not enough memory",  # the CPU on Windows
    "STATUS_ALLOC_FAILED",  # cuBLAS and others
)
_FAILURES = ("CUDA error", "CUDA driver error", "HIP error", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the device or of the host is used up."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Whether a device fails, so that its memory may not be readable any more."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    by_type = type(error).__name__ == "AcceleratorError"  # since torch 2.8
    return by_type or any(text in str(error) for text in _FAILURES)


def device_error(error: BaseException) -> BaseException | None:
    """The first error of a device among ``error`` and the errors that led to it.

    Later errors may be consequences: an observer that reads a loss, for example, gets the error of
    the device.
    """
    found = [e for e in _chain(error) if is_out_of_memory(e) or is_device_failure(e)]
    return found[-1] if found else None


def first_line(error: BaseException) -> str:
    """The first line of the message; torch appends advice and tables."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error``, its cause, the cause's cause …"""
    seen = set[int]()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
