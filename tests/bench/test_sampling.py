"""Sampling of scripted times: when it ends, which samples it keeps, coverage of its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from fake_clock import Clock, ScriptedLoad, ScriptedWatch
from hypothesis import given
from hypothesis import strategies as st

from clsbench.bench.sampling import (
    FEWEST_SAMPLES,
    Rules,
    Timing,
    calls_for,
    median_interval,
    take_samples,
)


class Scripted:
    """A workload whose calls take the scripted seconds; the last value repeats."""

    name, phase, device = "scripted", "forward", torch.device("cpu")
    examples, real_tokens, padded_tokens, moved_bytes = 8, 300, 960, 0

    def __init__(self, clock: Clock, seconds: Sequence[float]) -> None:
        self._clock = clock
        self._seconds = list(seconds)
        self.calls = 0

    def setup(self) -> None:
        """Nothing."""

    def call(self) -> None:
        """Let time pass."""
        self._clock.now_seconds += self._seconds[min(self.calls, len(self._seconds) - 1)]
        self.calls += 1

    def teardown(self) -> None:
        """Nothing."""


def sampled(
    seconds: Sequence[float], rules: Rules, cores: Sequence[float] = (0.0,)
) -> tuple[Timing, Scripted]:
    clock = Clock()
    workload = Scripted(clock, seconds)
    timing = take_samples(workload, rules, ScriptedWatch(clock), ScriptedLoad(cores), clock)
    return timing, workload


def test_take_samples_warm_up_ends_when_times_settle() -> None:
    timing, workload = sampled([9, 8, 7, 3, 2, 1.5, 1, 1, 1], Rules(0.02, 10_000, 0.0))
    assert timing.stable
    assert timing.warm_up_calls == 14, "the last five and most of the five before are equal"
    assert all(sample.seconds == 1 for sample in timing.samples)
    assert workload.calls == timing.warm_up_calls + 1 + len(timing.samples)


def test_take_samples_warm_up_takes_at_least_half_a_second() -> None:
    """Some code gets faster only after a number of calls."""
    timing, _ = sampled([0.01] * 30 + [0.002], Rules(0.02, 10, 0.0))
    assert timing.warm_up_calls >= 30
    assert all(sample.seconds == pytest.approx(0.002) for sample in timing.samples)


def test_take_samples_changing_times_are_not_stable() -> None:
    timing, _ = sampled([1.0] * 16 + [1.3], Rules(0.02, 30, 0.0))
    assert not timing.stable
    timing, _ = sampled([1.0], Rules(0.02, 60, 0.0))
    assert timing.stable


def test_take_samples_long_calls_stability_is_judged_by_samples() -> None:
    timing, _ = sampled([10.0], Rules(0.02, 8, 0.0))
    assert timing.warm_up_calls == 1
    assert timing.stable, "the samples are alike"
    timing, _ = sampled([10.0] * 5 + [20.0], Rules(0.02, 8, 0.0))
    assert not timing.stable


def test_take_samples_slow_first_calls_do_not_shorten_samples() -> None:
    timing, _ = sampled([0.5] * 9 + [0.002], Rules(0.02, 20, 0.1))
    assert min(sample.calls * sample.seconds for sample in timing.samples) >= 0.05


def test_take_samples_warm_up_is_limited_to_its_share_of_the_budget() -> None:
    falling = [100 * 0.9**n for n in range(200)]
    timing, _ = sampled(falling, Rules(0.02, 1000, 0.0))
    assert not timing.stable
    assert timing.samples, "unstable times are still measured"


def test_take_samples_ends_when_the_median_is_precise() -> None:
    timing, _ = sampled([1.0], Rules(0.02, 10_000, 0.0, fewest_samples=10))
    assert len(timing.samples) == 10
    assert timing.seconds is not None
    assert (timing.seconds.low, timing.seconds.median, timing.seconds.high) == (1, 1, 1)
    noisy = [1.0] * 11 + [1.0, 1.3] * 500
    more, _ = sampled(noisy, Rules(0.02, 100, 0.0))
    assert len(more.samples) > 20, "sampling ends with the budget"


def test_take_samples_disturbed_samples_are_kept_but_excluded() -> None:
    cores = [0.0, 0.0, 2.0, 0.0, 2.0] + [0.0] * 100
    seconds = [1.0] * 11 + [1, 1, 50, 1, 50] + [1.0] * 100
    rules = Rules(0.02, 10_000, 0.0, load_limit_cores=0.15, fewest_samples=10)
    timing, _ = sampled(seconds, rules, cores)
    assert timing.dropped == 2
    assert len(timing.samples) == 12
    assert [sample.seconds for sample in timing.samples if not sample.quiet] == [50, 50]
    assert timing.seconds is not None
    assert timing.seconds.high == 1


def test_take_samples_too_few_quiet_samples_give_no_interval() -> None:
    timing, _ = sampled([1.0], Rules(0.02, 30, 0.0), cores=[1.5])
    assert timing.seconds is None
    assert timing.dropped == len(timing.samples) > FEWEST_SAMPLES


def test_take_samples_sample_lasts_long_enough_to_measure_the_load() -> None:
    timing, _ = sampled([0.003], Rules(0.02, 10_000, 0.1))
    assert {sample.calls for sample in timing.samples} == {34}
    assert calls_for(0.1, [5.0]) == 1
    assert calls_for(0.1, [1e-6]) >= 100_000, "also for very short calls"


# --- the interval of a median ---------------------------------------------------------------------


@given(st.lists(st.floats(1e-6, 1e3), max_size=60))
def test_median_interval_encloses_median_and_is_wider_if_sorted(seconds: list[float]) -> None:
    found = median_interval(seconds)
    if len(seconds) < FEWEST_SAMPLES:
        assert found is None
        return
    assert found is not None
    assert min(seconds) <= found.low <= found.median <= found.high <= max(seconds)
    assert median_interval(seconds[::-1]) == found
    ordered = median_interval(sorted(seconds))
    assert ordered is not None
    assert ordered.low <= found.low
    assert found.high <= ordered.high


@pytest.mark.parametrize(("count", "least"), [(20, 0.84), (60, 0.93), (200, 0.95)])
def test_median_interval_autocorrelated_times_keep_coverage(count: int, least: float) -> None:
    """The machine's speed varies slowly. An interval that assumes independent times would cover
    the true median in little more than half of the cases."""
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(2000, count))
    for at in range(1, count):
        noise[:, at] = 0.8 * noise[:, at - 1] + 0.6 * noise[:, at]
    found = [median_interval(row) for row in np.exp(0.03 * noise).tolist()]
    covered = np.mean([i.low <= 1.0 <= i.high for i in found if i is not None])
    assert covered >= least


@pytest.mark.parametrize(("count", "most"), [(6, 0.985), (10, 0.99), (15, 0.985), (40, 0.985)])
def test_median_interval_covers_the_true_median_at_95_percent(count: int, most: float) -> None:
    """5,000 experiments with long-tailed times: lognormal with median 1."""
    drawn = np.random.default_rng(1).lognormal(0.0, 0.8, size=(5000, count))
    found = [median_interval(row) for row in drawn.tolist()]
    covered = np.mean([i.low <= 1.0 <= i.high for i in found if i is not None])
    assert 0.944 <= covered <= most


@pytest.mark.parametrize(
    ("name", "truth"), [("exponential", 1 + 0.05 * np.log(2)), ("normal", 1.0), ("two speeds", 1.0)]
)
def test_take_samples_early_end_keeps_coverage(name: str, truth: float) -> None:
    """The sampler decides when to end; 95 % less the sampling error of 600 experiments."""
    draws = np.random.default_rng(5)

    def sample() -> float:
        if name == "exponential":
            return float(1 + draws.exponential(0.05))
        speed = 1.2 if name == "two speeds" and draws.random() < 0.25 else 1.0
        return float(speed + draws.normal(0, 0.03))

    if name == "two speeds":
        truth = float(np.median([sample() for _ in range(200_000)]))
    covered = 0
    for _ in range(600):
        clock = Clock()
        seconds = [1.0] * 12 + [sample() for _ in range(100)]
        rules = Rules(0.02, 100, 0.0)
        timing = take_samples(
            Scripted(clock, seconds), rules, ScriptedWatch(clock), ScriptedLoad([0.0]), clock
        )
        found = timing.seconds
        assert found is not None
        covered += found.low <= truth <= found.high
    assert covered >= 0.93 * 600
