"""What a GPU says of itself while it is timed: its clock, whether it is held back, its energy."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

_HELD_BACK = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat",
    "nvmlClocksEventReasonHwThermalSlowdown": "heat",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "power brake",
    "nvmlClocksEventReasonHwSlowdown": "hardware slow-down",
}
"""By their names in NVML, the reasons for a clock below what it could be."""


class GpuReading(NamedTuple):
    """One look: the clock of the multiprocessors, why it is held back, and the energy used since
    the driver was loaded. What the GPU does not tell is ``None``."""

    clock_mhz: int | None
    held_back_by: tuple[str, ...]
    joules: float | None


class GpuMeter:
    """Asks NVML about one device.

    Source: NVIDIA Management Library, by the package ``nvidia-ml-py``.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def read(self) -> GpuReading:
        """The state of the device now."""
        nvml = self._nvml
        clock = self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons") or 0
        told = {text for name, text in _HELD_BACK.items() if reasons & getattr(nvml, name)}
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return GpuReading(
            clock_mhz=clock,
            held_back_by=tuple(sorted(told)),
            joules=None if millijoules is None else millijoules / 1000,
        )

    def _ask(self, function: str, *arguments: Any) -> int | None:
        try:
            return int(getattr(self._nvml, function)(self._handle, *arguments))
        except self._nvml.NVMLError:  # not every GPU, driver or container tells everything
            return None


def gpu_meter(device: torch.device) -> GpuMeter | None:
    """The meter of a CUDA device; ``None`` for others, or where NVML is not to be had."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        return GpuMeter(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except pynvml.NVMLError:
        return None
