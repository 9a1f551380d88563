"""Stopwatches with a scripted clock, an asynchronous device and real sleeps."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest
import torch

from clsbench.bench import stopwatch as stopwatch_module
from clsbench.bench.stopwatch import (
    CudaStopwatch,
    HostStopwatch,
    QueueStopwatch,
    UnsynchronisedError,
    stopwatch,
    undisturbed_stopwatch,
)


class Device:
    """A device with a queue: launching work takes no time, waiting for it does."""

    def __init__(self) -> None:
        self.now_seconds = 100.0
        self._free_at_seconds = 0.0

    def launch(self, seconds: float) -> None:
        """Append work of so many seconds to the queue."""
        self._free_at_seconds = max(self._free_at_seconds, self.now_seconds) + seconds

    def synchronise(self) -> None:
        """Wait until the queue is empty."""
        self.now_seconds = max(self.now_seconds, self._free_at_seconds)

    def clock(self) -> float:
        """The time on the host."""
        return self.now_seconds


def test_stopwatch_several_calls_are_summed() -> None:
    device = Device()

    def work() -> None:
        device.launch(0.25)
        device.synchronise()

    assert HostStopwatch(device.clock).seconds(work, 4) == pytest.approx(1.0)
    assert QueueStopwatch(device.synchronise, device.clock).seconds(work, 4) == pytest.approx(1.0)


@pytest.mark.skipif(sys.platform == "win32", reason="counts elapsed time there")
def test_undisturbed_stopwatch_leaves_out_the_time_without_the_processor() -> None:
    cpu = torch.device("cpu")
    assert stopwatch(cpu).seconds(lambda: time.sleep(0.2), 1) >= 0.2
    assert undisturbed_stopwatch(cpu).seconds(lambda: time.sleep(0.2), 1) < 0.1


def test_queue_stopwatch_earlier_work_is_not_measured() -> None:
    device = Device()
    device.launch(3.0)
    watch = QueueStopwatch(device.synchronise, device.clock)
    assert watch.seconds(device.synchronise, 1) == 0.0


def test_queue_stopwatch_unsynchronised_call_is_refused() -> None:
    device = Device()

    def forward_and_backward() -> None:
        device.launch(0.1)
        device.synchronise()  # the loss is read
        device.launch(0.2)  # the call does not wait for the gradients

    watch = QueueStopwatch(device.synchronise, device.clock)
    with pytest.raises(UnsynchronisedError, match="must synchronize the device"):
        watch.seconds(forward_and_backward, 1)


def test_stopwatch_sleep_is_never_measured_as_shorter(device: torch.device) -> None:
    for watch in (HostStopwatch(), QueueStopwatch(lambda: None), stopwatch(device)):
        assert watch.seconds(lambda: time.sleep(0.02), 3) >= 0.06


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("cpu", HostStopwatch),
        ("meta", HostStopwatch),
        ("cuda:1", CudaStopwatch),
        ("mps", QueueStopwatch),
    ],
)
def test_stopwatch_uses_events_on_cuda_and_a_clock_elsewhere(device: str, kind: type) -> None:
    assert type(stopwatch(torch.device(device))) is kind


class Cuda(Device):
    """``torch.cuda`` with one stream, which does its work on the clock of :class:`Device`.

    A simulation, since CUDA events need a GPU. ``log`` lists what is done, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def synchronize(self, device: torch.device) -> None:
        self.log.append(f"synchronize {device}")
        self.synchronise()

    def current_stream(self, device: torch.device) -> Cuda:
        return self

    def query(self) -> bool:
        """Whether all work of the stream is done."""
        return self._free_at_seconds <= self.now_seconds

    def Event(self, enable_timing: bool) -> Event:  # noqa: N802
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def record(self, stream: Cuda) -> None:
        assert stream is self.cuda
        stream.log.append("record")
        self.at_seconds = max(stream.now_seconds, stream._free_at_seconds)

    def synchronize(self) -> None:
        self.cuda.log.append("wait")

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds, as torch's events return them."""
        return (other.at_seconds - self.at_seconds) * 1000


def test_cuda_stopwatch_times_calls_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are simulated; ``test_stopwatch_cuda_…`` uses real ones where there is a GPU."""
    cuda = Cuda()
    monkeypatch.setattr(stopwatch_module, "torch", SimpleNamespace(cuda=cuda))
    cuda.launch(3.0)  # of others, before

    def work() -> None:
        cuda.log.append("call")
        cuda.launch(0.25)
        cuda.synchronise()

    watch = CudaStopwatch(torch.device("cuda:1"))
    assert watch.seconds(work, 2) == pytest.approx(0.5)
    assert cuda.log == ["synchronize cuda:1", "record", "call", "call", "record", "wait"]
    with pytest.raises(UnsynchronisedError, match="must synchronize the device"):
        watch.seconds(lambda: cuda.launch(0.25), 1)


@pytest.mark.cuda
def test_stopwatch_cuda_measures_kernels_and_refuses_unsynchronised() -> None:
    device = torch.device("cuda")
    watch = stopwatch(device)
    cycles = 20_000_000

    def spin(times: int) -> None:
        for _ in range(times):
            torch.cuda._sleep(cycles)
        torch.cuda.synchronize()

    once, thrice = (min(watch.seconds(lambda n=n: spin(n), 1) for _ in range(5)) for n in (1, 3))
    assert 2 * once < thrice < 5 * once, "other processes may use the device"
    with pytest.raises(UnsynchronisedError):
        watch.seconds(lambda: torch.cuda._sleep(cycles), 1)
