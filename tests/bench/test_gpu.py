"""Readings of the GPU meter, also where NVML supports few or no queries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clsbench.bench.gpu import GpuMeter, GpuReading, gpu_meter

pynvml = pytest.importorskip("pynvml", reason="pip install nvidia-ml-py")


class ScriptedNvml:
    """NVML's constants and errors with a device that returns these values; ``None`` raises."""

    def __init__(self, clock: int | None, reasons: int | None, millijoules: int | None) -> None:
        self._answers = {
            "nvmlDeviceGetClockInfo": clock,
            "nvmlDeviceGetCurrentClocksEventReasons": reasons,
            "nvmlDeviceGetTotalEnergyConsumption": millijoules,
        }

    def __getattr__(self, name: str) -> Any:
        if name not in self._answers:
            return getattr(pynvml, name)

        def answer(handle: object, *arguments: object) -> int:
            found = self._answers[name]
            if found is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return found

        return answer


def test_gpu_meter_reads_clock_reasons_and_energy() -> None:
    reasons = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle
    reading = GpuMeter(ScriptedNvml(1980, reasons, 123_456), SimpleNamespace()).read()
    assert reading == GpuReading(1980, ("power cap",), 123.456)


def test_gpu_meter_unsupported_queries_read_none() -> None:
    assert GpuMeter(ScriptedNvml(None, None, None), SimpleNamespace()).read() == (None, (), None)


def test_gpu_meter_on_cpu_is_none() -> None:
    assert gpu_meter(torch.device("cpu")) is None


@pytest.mark.cuda
def test_gpu_meter_real_device_reads_plausible_values() -> None:
    meter = gpu_meter(torch.device("cuda"))
    if meter is None:
        pytest.skip("NVML is not available")
    before = meter.read()
    left = torch.rand(4096, 4096, device="cuda")
    for _ in range(50):
        left @ left
    torch.cuda.synchronize()
    after = meter.read()
    assert after.clock_mhz is None or after.clock_mhz > 100
    assert before.joules is None or after.joules is None or after.joules >= before.joules
