"""Measurements of the machine's limits."""

from __future__ import annotations

import pytest
import torch
from fake_clock import Clock, ScriptedWatch

from clsbench.bench.machine_peak import LimitsMeter, shortest
from clsbench.bench.stopwatch import HostStopwatch


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_limits_meter_keeps_the_best_measurement(precision: str, device: torch.device) -> None:
    meter = LimitsMeter(device, precision, matrix_side=128, copied_bytes=10**6, seconds=0.01)
    meter.measure()
    first = meter.best()
    meter.measure()
    second = meter.best()
    assert 0 < first.flops_per_second <= second.flops_per_second
    assert 0 < first.bytes_per_second <= second.bytes_per_second
    assert second.foreign_cores <= first.foreign_cores


def test_limits_meter_measures_with_the_given_stopwatch() -> None:
    watch = HostStopwatch(iter(range(10**9)).__next__)  # one second for each call
    meter = LimitsMeter(
        torch.device("cpu"), matrix_side=32, copied_bytes=64, seconds=0.0, watch=watch
    )
    meter.measure()
    assert meter.best().flops_per_second == 2 * 32**3
    assert meter.best().bytes_per_second == 2 * 64


def test_shortest_returns_the_fastest_call_after_warm_up() -> None:
    clock = Clock()
    times = iter([0.001, 0.03, 0.02, 0.002, 0.02])

    def call() -> None:
        clock.now_seconds += next(times, 0.01)

    found = shortest(call, 0.1, ScriptedWatch(clock), clock)
    assert found == pytest.approx(0.002), "the first call warms up"
