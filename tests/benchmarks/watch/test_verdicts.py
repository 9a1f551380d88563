"""Verdicts by earlier runs: false alarms, thresholds, steps of the code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmark_runs import (
    FIVE_PERCENT,
    NAMES,
    a_run,
    changed_code,
    on_a_machine,
    runs_like,
    verdicts_of,
)
from benchmarks.watch.history import BenchmarkRun, Result
from benchmarks.watch.verdicts import Thresholds, judge
from scipy import stats


@pytest.mark.parametrize("spread", [0.002, 0.01, 0.03])
def test_judge_false_alarms_are_at_most_one_in_two_hundred(spread: float) -> None:
    generator = np.random.default_rng(1)
    alarms = checks = 0
    for _ in range(500):
        *earlier, new = runs_like(generator, 9, spread)
        verdicts = verdicts_of(new, earlier, Thresholds(0.0))
        alarms += any(verdict.outcome == "slower" for verdict in verdicts)
        checks += 1
    assert checks == 500
    assert alarms <= 8, "2.5 are expected at one run in two hundred"


def spread_by_benchmark(
    generator: np.random.Generator, spreads: Sequence[float]
) -> tuple[list[BenchmarkRun], BenchmarkRun]:
    draws = generator.standard_normal((9, len(spreads))) * np.asarray(spreads)
    *earlier, new = (
        BenchmarkRun(
            Path("x"), f"{number:02}", "abc", "machine",
            {f"b{n}": Result("", float(np.exp(draw))) for n, draw in enumerate(row)},
        )
        for number, row in enumerate(draws)
    )  # fmt: skip
    return earlier, new


@pytest.mark.parametrize("spreads", [[0.005] * 39 + [0.1], [0.01] * 35 + [0.15] * 5, [0.02] * 40])
def test_judge_noisy_benchmark_does_not_affect_quiet_ones(
    spreads: list[float],
) -> None:
    generator = np.random.default_rng(4)
    alarms = found = 0
    for _ in range(150):
        earlier, new = spread_by_benchmark(generator, spreads)
        alarms += any(v.outcome == "slower" for v in verdicts_of(new, earlier, Thresholds(0.0)))
        first = new.results["b0"]
        slow = new._replace(results={**new.results, "b0": Result("", 1.15 * (first.seconds or 0))})
        found += verdicts_of(slow, earlier, FIVE_PERCENT)[0].outcome == "slower"
    assert alarms <= 4
    assert found >= 140


def test_judge_removed_benchmark_is_not_measured() -> None:
    earlier = [a_run(n, [1.0, 2.0, 3.0, 4.0]) for n in range(6)]
    new = a_run(9, [1.0, 2.0, 3.0, 4.0])
    less = new._replace(results={n: r for n, r in new.results.items() if n != NAMES[1]})
    assert {v.benchmark: v.outcome for v in verdicts_of(less, earlier, FIVE_PERCENT)} == {
        name: "not measured" if name == NAMES[1] else "no difference shown" for name in NAMES
    }
    chosen = less._replace(selection="only a few")
    assert len(verdicts_of(chosen, earlier, FIVE_PERCENT)) == 3, "it was not selected"


def test_judge_ten_percent_slower_is_found_at_one_percent_noise() -> None:
    generator = np.random.default_rng(2)
    found = 0
    for _ in range(200):
        earlier = runs_like(generator, 8, 0.01)
        (slow,) = runs_like(generator, 1, 0.01, slower=1.10)
        found += all(v.outcome == "slower" for v in verdicts_of(slow, earlier, FIVE_PERCENT))
    assert found >= 196


@pytest.mark.parametrize(
    ("slower", "outcome"),
    [
        (1.3, "slower"),
        (1.03, "no difference shown"),
        (0.98, "no difference shown"),
        (0.8, "faster"),
    ],
)
def test_judge_difference_below_the_threshold_is_ignored(slower: float, outcome: str) -> None:
    earlier = [a_run(n, [1.0, 2.0, 3.0, 4.0]) for n in range(6)]
    new = a_run(9, [slower, 2 * slower, 3 * slower, 4 * slower])
    for verdict in verdicts_of(new, earlier, FIVE_PERCENT):
        assert verdict.outcome == outcome
        assert verdict.ratio == pytest.approx(slower)


def test_judge_noisy_runs_raise_the_limit() -> None:
    earlier = [a_run(n, [1.0 + 0.2 * (n % 2), 2, 3, 4]) for n in range(8)]
    verdicts = verdicts_of(a_run(9, [1.25, 2, 3, 4]), earlier, FIVE_PERCENT)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes == ["not measured", *["no difference shown"] * 3]
    assert verdicts[0].limit is not None
    assert verdicts[0].limit > 1.14
    verdicts = verdicts_of(a_run(9, [2.0, 2, 3, 4]), earlier, FIVE_PERCENT)
    assert verdicts[0].outcome == "slower", "a large difference exceeds the noise"


def test_judge_time_within_earlier_range_is_not_slower() -> None:
    """The benchmark has two speeds; the slow one is rare."""
    earlier = [a_run(n, [1.08 if n == 2 else 1.0, 2, 3, 4]) for n in range(12)]
    verdicts = verdicts_of(a_run(13, [1.08, 2.16, 3, 4]), earlier, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts[:2]] == ["no difference shown", "slower"]


def test_judge_too_few_runs_or_missing_times_give_no_verdict() -> None:
    earlier = [a_run(n, [1.0, 2.0, None if n else 3.0, 4.0]) for n in range(5)]
    verdicts = verdicts_of(a_run(9, [1.0, None, 3.0, 9.0]), earlier, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts] == [
        "no difference shown", "not measured", "too few runs", "slower",
    ]  # fmt: skip
    assert [v.outcome for v in verdicts_of(a_run(9, [1, 2, 3, 4]), earlier[:4], FIVE_PERCENT)] == [
        "too few runs"
    ] * 4


def test_thresholds_longest_matching_name_applies() -> None:
    thresholds = Thresholds(0.05, {"freezing": 0.1, "freezing: train": 0.2, "[all]": 0.3})
    assert thresholds.of("x[last]", "pooling: forward") == 0.05
    assert thresholds.of("x[last]", "freezing: forward") == 0.1
    assert thresholds.of("x[last]", "freezing: train step") == 0.2
    assert thresholds.of("x[all]", "freezing: forward") == 0.1
    assert thresholds.of("x[all]", "pooling") == 0.3


@pytest.mark.parametrize("speeds", [[(1.0, 8), (0.85, 12)], [(0.7, 6), (1.0, 8), (0.85, 5)]])
def test_judge_lasting_change_becomes_the_reference(
    speeds: list[tuple[float, int]],
) -> None:
    generator = np.random.default_rng(13)
    alarms = found = 0
    for _ in range(50):
        earlier = changed_code(generator, speeds, reference=False)
        same, slow = (on_a_machine(generator, 50, 1.0, 0.85 * by) for by in (1.0, 1.12))
        alarms += any(v.outcome != "no difference shown"
                      for v in verdicts_of(same, earlier, FIVE_PERCENT))  # fmt: skip
        verdicts = verdicts_of(slow, earlier, FIVE_PERCENT)
        found += all(v.outcome == "slower" for v in verdicts)
        assert verdicts[0].earlier_runs == speeds[-1][1]
    assert alarms <= 2
    assert found >= 48


def test_judge_noise_is_not_taken_for_a_step() -> None:
    generator = np.random.default_rng(15)
    cut = 0
    for _ in range(200):
        earlier = [r._replace(commit=str(n)) for n, r in enumerate(
            changed_code(generator, [(1.0, 20)], reference=False))]  # fmt: skip
        new = on_a_machine(generator, 50, 1.0)
        cut += sum(v.earlier_runs < 20 for v in verdicts_of(new, earlier, FIVE_PERCENT))
    assert cut <= 2, "2 of 800 verdicts"


def test_judge_without_reference_work_uses_seconds() -> None:
    generator = np.random.default_rng(9)
    earlier = [on_a_machine(generator, n, 1) for n in range(8)]
    earlier[0] = earlier[0]._replace(reference_seconds=None)
    verdicts, machine = judge(on_a_machine(generator, 9, 3.0), earlier, FIVE_PERCENT)
    assert machine is None
    assert verdicts[0].outcome == "slower"


def test_judge_pools_degrees_of_freedom_with_a_bound() -> None:
    """Four benchmarks of equal spread have four times the degrees of freedom of one."""
    times = [1.0, 1.03, 0.98, 1.01, 0.97, 1.02, 1.0, 0.99]
    earlier = [a_run(n, [time, 2 * time, time, time]) for n, time in enumerate(times)]
    verdict = verdicts_of(a_run(9, [1.0, 2.0, 1.0, 1.0]), earlier, FIVE_PERCENT)[0]
    deviation = float(np.std(np.log(times), ddof=1))
    # Four comparisons at one in two hundred; the variances of one run and of a median of eight.
    far = float(stats.t.isf(0.005 / 4, 28)) * deviation * math.sqrt(1 + math.pi / 16)
    assert verdict.limit == pytest.approx(math.exp(far), rel=0.01)
