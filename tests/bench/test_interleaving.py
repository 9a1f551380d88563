"""Interleaved timing of contenders, with a scripted clock."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from fake_clock import Clock, ScriptedLoad, ScriptedWatch

from clsbench.bench.compare import verdict_on
from clsbench.bench.interleaving import InterleavedSample, Race, RaceRules, race, ratio_interval
from clsbench.bench.load import LoadMeter, Look


def samples(
    contender: str, seconds: list[float], quiet: list[bool] | None = None
) -> list[InterleavedSample]:
    return [
        InterleavedSample(
            contender=contender,
            round=number,
            calls=1,
            seconds=took,
            foreign_cores=0.0,
            quiet=quiet is None or quiet[number],
        )
        for number, took in enumerate(seconds)
    ]


def a_race(*parts: list[InterleavedSample]) -> Race:
    every = [sample for part in parts for sample in part]
    return Race(samples=every, rounds=0, quiet_rounds=0, dropped=0, load_limit_cores=0.1)


def timed_race(contenders: dict[str, Callable[[Clock], None]], rules: RaceRules) -> Race:
    """A race on a clock that the contenders move, without other processes."""
    clock = Clock()
    calls = {name: functools.partial(call, clock) for name, call in contenders.items()}
    return race(calls, rules, ScriptedWatch(clock), ScriptedLoad([0.0]), clock)


def lasting(seconds: float) -> Callable[[Clock], None]:
    def call(clock: Clock) -> None:
        clock.now_seconds += seconds

    return call


def test_race_contenders_alternate_their_order() -> None:
    seen: list[str] = []

    def noting(name: str) -> Callable[[Clock], None]:
        def call(clock: Clock) -> None:
            seen.append(name)
            clock.now_seconds += 0.1

        return call

    result = timed_race({"a": noting("a"), "b": noting("b")}, RaceRules(4, 60, 0.1, 0.0))
    warmed_up, timed = "".join(seen[:-8]), "".join(seen[-8:])
    assert set(warmed_up.rstrip("b")) == {"a"}, "contenders warm up one after the other"
    assert timed == "ab" + "ba" + "ab" + "ba"
    assert [sample.contender for sample in result.samples] == list("abbaabba")
    assert (result.rounds, result.quiet_rounds, result.dropped) == (4, 4, 0)


def test_race_turn_lasts_long_enough_to_measure_the_load() -> None:
    result = timed_race({"a": lasting(0.002)}, RaceRules(2, 60, 0.1, 0.03))
    assert [sample.calls for sample in result.samples] == [15, 15]
    assert all(sample.seconds == pytest.approx(0.002) for sample in result.samples)


def test_race_slow_first_call_does_not_shorten_turns() -> None:
    called = 0

    def slow_at_first(clock: Clock) -> None:
        nonlocal called
        called += 1
        clock.now_seconds += 0.05 if called <= 3 else 0.001

    result = timed_race({"a": slow_at_first}, RaceRules(2, 60, 0.1, 0.03))
    assert all(sample.calls * sample.seconds >= 0.015 for sample in result.samples)


def test_race_ends_with_its_budget() -> None:
    result = timed_race({"a": lasting(0.01)}, RaceRules(10_000, 0.2, 0.1, 0.0))
    assert 6 <= result.rounds <= 20


def test_race_disturbed_turns_are_dropped_and_counted() -> None:
    clock = Clock()
    load = ScriptedLoad([0.0, 1.0, 0.0, 0.0, 0.0])
    call = functools.partial(lasting(1.0), clock)
    result = race({"a": call}, RaceRules(4, 60, 0.1, 0.0), ScriptedWatch(clock), load, clock)
    assert (result.rounds, result.quiet_rounds, result.dropped) == (5, 4, 1)


def test_race_compare_ratio_is_the_median_of_quiet_rounds() -> None:
    quiet = [True, True, True, False, True, True, True, True]
    fast = samples("fast", [1.0, 2.0, 3.0, 99.0, 4.0, 5.0, 6.0, 7.0], quiet)
    slow = samples("slow", [10.0, 40.0, 60.0, 1.0, 20.0, 50.0, 90.0, 28.0])
    found = a_race(fast, slow).compare("fast", "slow")
    assert (found.pairs, found.fast_seconds, found.slow_seconds) == (7, 4, 40)
    assert found.ratio == pytest.approx(10)
    assert (found.low, found.high) == (pytest.approx(4), pytest.approx(20)), (
        "the range of all seven"
    )


def test_race_compare_fewer_than_six_quiet_pairs_is_not_measured() -> None:
    quiet = [True] * 5 + [False]
    found = a_race(samples("a", [1.0] * 6, quiet), samples("b", [2.0] * 6)).compare("a", "b")
    assert (found.pairs, found.measured, found.ratio) == (5, False, None)
    assert not found.differs


@pytest.mark.parametrize("pairs", [6, 7, 9, 12, 30])
def test_ratio_interval_covers_the_true_ratio_at_95_percent(pairs: int) -> None:
    """Noise only slows, as other processes do; 95 % less the sampling error of 2,000 draws."""
    draws = np.random.default_rng(pairs)
    covered = 0
    for _ in range(2_000):
        noise = 1 + draws.exponential(0.05, size=(pairs, 2))
        found = ratio_interval([(one, 2 * other) for one, other in noise])
        assert found is not None
        covered += found.low <= 2 <= found.high
    assert covered >= 2_000 * 0.935


@pytest.mark.parametrize(
    ("slow", "differs"), [(1.04, False), (1.06, True), (0.94, True), (0.96, False)]
)
def test_race_compare_difference_below_five_percent_does_not_differ(
    slow: float, differs: bool
) -> None:
    found = a_race(samples("a", [1.0] * 6), samples("b", [slow] * 6)).compare("a", "b")
    assert found.differs is differs


def test_race_control_compares_consecutive_rounds() -> None:
    found = a_race(samples("a", [1.0, 2.0] * 6)).control("a")
    assert (found.pairs, found.ratio) == (6, pytest.approx(2.0))
    quiet = [True] * 6 + [False] + [True] * 6
    found = a_race(samples("a", [1.0] * 13, quiet)).control("a")
    assert (found.pairs, found.ratio) == (6, 1.0)
    assert not a_race(samples("a", [1.0] * 11)).control("a").measured


@pytest.mark.parametrize(
    ("after", "cores"),
    [
        (Look(2.0, 2.0, 2.0), 0.0),
        (Look(2.0, 3.0, 2.0), 0.5),
        (Look(2.0, 5.0, 1.0), 2.0),
        (Look(2.0, 1.0, 2.0), 0.0),
        (Look(0.0, 1.0, 0.0), math.inf),
    ],
)
def test_load_meter_foreign_cores_excludes_this_process(after: Look, cores: float) -> None:
    assert LoadMeter().foreign_cores(Look(0.0, 0.0, 0.0), after) == cores


def test_load_meter_counters_never_decrease() -> None:
    meter = LoadMeter()
    before = meter.look()
    sum(range(100_000))
    assert all(a >= b for a, b in zip(meter.look(), before, strict=True))


def test_verdict_on_differing_control_is_not_measured() -> None:
    def against(slow: float, again: float) -> str:
        race_ = a_race(
            samples("A", [1.0] * 6), samples("B", [slow] * 6), samples("again", [again] * 6)
        )
        return verdict_on(race_.compare("A", "B"), race_.compare("A", "again"))

    assert against(1.2, 1.0) == "slower"
    assert against(0.8, 1.0) == "faster"
    assert against(1.02, 1.0) == "no difference shown"
    assert against(1.2, 1.1) == "not measured"
