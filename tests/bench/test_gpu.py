"""What a GPU says of itself, where there is one, and where NVML says little or nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clsbench.bench.gpu import GpuMeter, GpuReading, gpu_meter

pynvml = pytest.importorskip("pynvml", reason="pip install nvidia-ml-py")


class NvmlThat:
    """NVML's own constants and errors, with a device that answers so; ``None``: refuses."""

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


def test_what_the_device_tells() -> None:
    reasons = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle
    reading = GpuMeter(NvmlThat(1980, reasons, 123_456), SimpleNamespace()).read()
    assert reading == GpuReading(1980, ("power cap",), 123.456)


def test_what_the_device_does_not_tell_is_unknown() -> None:
    assert GpuMeter(NvmlThat(None, None, None), SimpleNamespace()).read() == (None, (), None)


def test_the_cpu_has_no_meter() -> None:
    assert gpu_meter(torch.device("cpu")) is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_device() -> None:
    meter = gpu_meter(torch.device("cuda"))
    if meter is None:
        pytest.skip("NVML is not to be had here")
    before = meter.read()
    left = torch.rand(4096, 4096, device="cuda")
    for _ in range(50):
        left @ left
    torch.cuda.synchronize()
    after = meter.read()
    assert after.clock_mhz is None or after.clock_mhz > 100
    assert before.joules is None or after.joules is None or after.joules >= before.joules
