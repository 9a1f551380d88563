"""The reason of a failed run, as its record states it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from msgspec.structs import replace

from clsbench.errors import ClsbenchError
from clsbench.schema.quantities import size_text
from clsbench.schema.record import Environment, KeptActivations, RunRecord
from clsbench.schema.training import TrainSettings
from clsbench.system.device_errors import device_error, first_line, is_out_of_memory
from clsbench.system.environment import peak_memory_bytes

_META_HINT = (
    " (a backbone, pooling, head or adapter seems to keep a tensor in a global variable or under "
    "functools.lru_cache: it was made while the run was planned, on the meta device, and has no "
    "values; keep it in an attribute of the module instead)"
)


class Progress(NamedTuple):
    """How far a run came: its last phase, the texts seen in training, the cached activations."""

    phase: str
    texts: int
    kept: KeptActivations | None


def reason_of(failure: Exception, record: RunRecord, train: TrainSettings, so_far: Progress) -> str:
    """The error as stated in the record; for errors of a device with what to try next."""
    if (error := device_error(failure)) is not None:
        place = f" in the phase {so_far.phase!r}, after {so_far.texts:,} training texts"
        options = smaller(record.environment.precision, train, so_far)
        return device_text(error, record.environment, place, options)
    if isinstance(failure, ClsbenchError):
        return str(failure)
    text = f"{type(failure).__name__}: {failure}"
    return text + _META_HINT if "meta tensor" in text else text


def device_text(
    error: BaseException, environment: Environment, place: str, options: Sequence[str]
) -> str:
    """An error of the device as one line; if memory is used up, with the peak and ``options``."""
    device = environment.device
    if is_out_of_memory(error):
        advice = " or ".join(options) or "a smaller backbone"
        peak = _peak_text(device)
        return f"out of memory on {device}{place}{peak}: {first_line(error)}. Try {advice}"
    return (
        f"the device {device} ({environment.device_name}) failed{place}: {first_line(error)}. "
        "Check the device and run again; if it fails again, --device cpu shows whether a component "
        "is the cause"
    )


@contextmanager
def naming_the_device(device: torch.device) -> Iterator[None]:
    """Convert an error of the device before training.

    Raises:
        ClsbenchError: names the device and says what to try.
    """
    try:
        yield
    except Exception as failure:
        error = device_error(failure)
        if error is None:
            raise
        if is_out_of_memory(error):
            raise ClsbenchError(
                f"the classifier does not fit into the memory of {device}"
                f"{_peak_text(str(device))}: {first_line(error)}. Choose a smaller backbone or "
                "another device (--device)"
            ) from failure
        raise ClsbenchError(
            f"the device {device} failed while the classifier was made: {first_line(error)}. Check "
            "the device, or choose another one (--device)"
        ) from failure


def without_weights(record: RunRecord, failure: Exception) -> RunRecord:
    """The record of a run whose weights cannot be stored because of an error of the device.

    Raises:
        Exception: ``failure``, if the device is not the cause.
    """
    error = device_error(failure)
    if error is None:
        raise failure
    problem = (
        f"the trained weights are not stored, since they could not be read from "
        f"{record.environment.device}: {first_line(error)}"
    )
    status = "failed" if record.status == "finished" else record.status
    warnings = (*record.warnings, problem)
    return replace(record, status=status, error=record.error or problem, warnings=warnings)


def smaller(precision: str, train: TrainSettings, so_far: Progress | None = None) -> list[str]:
    """Options that need less memory and change the training least."""
    phase, _, kept = so_far or Progress("", 0, None)
    options = ["--precision bf16"] if precision != "bf16" else []
    size = train.batch_size
    if phase == "prefix":  # its batches do not depend on those of training
        options.append("computing the frozen layers with each step (--no-fast prefix)")
    elif size > 1:
        parts = next(n for n in range(2, size + 1) if size % n == 0)
        options.append(
            f"smaller batches with accumulation (--set train.batch_size={size // parts} "
            f"--set train.accumulation={train.accumulation * parts})"
        )
    if kept is not None and (used_bytes := kept.memory_bytes):
        half, used = size_text(used_bytes // 2).replace(" ", ""), size_text(used_bytes)
        options.append(f"less memory for cached activations (--cache-memory {half}; used: {used})")
    return options


def _peak_text(device: str) -> str:
    peak_bytes = peak_memory_bytes(torch.device(device))
    return "" if peak_bytes is None else f" (peak {size_text(peak_bytes)})"
