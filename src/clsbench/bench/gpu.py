"""The state of a GPU during timing: clock, throttling, energy."""

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
"""The reasons for throttling, by their NVML names."""


class GpuReading(NamedTuple):
    """The clock of the multiprocessors, the reasons for throttling, and the energy used since the
    driver was loaded.

    Values that the GPU does not report are ``None``.
    """

    clock_mhz: int | None
    held_back_by: tuple[str, ...]
    joules: float | None


class GpuMeter:
    """Reads the state of one device from NVML.

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
        reported = {text for name, text in _HELD_BACK.items() if reasons & getattr(nvml, name)}
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return GpuReading(
            clock_mhz=clock,
            held_back_by=tuple(sorted(reported)),
            joules=None if millijoules is None else millijoules / 1000,
        )

    def _ask(self, function: str, *arguments: Any) -> int | None:
        try:
            return int(getattr(self._nvml, function)(self._handle, *arguments))
        except self._nvml.NVMLError:  # not supported by every GPU, driver or container
            return None


def gpu_meter(device: torch.device) -> GpuMeter | None:
    """The meter of a CUDA device; ``None`` for others, or if NVML is unavailable."""
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
