"""Verdicts on two checkouts that run in turn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmark_runs import (
    FIVE_PERCENT,
    NAMES,
    a_run,
)
from benchmarks.watch.history import BenchmarkRun, Result, Round
from benchmarks.watch.verdicts import Thresholds, judge_pairs, more_pairs


def pairs_of(
    generator: np.random.Generator, count: int, spread: float, slower: float
) -> list[tuple[BenchmarkRun, BenchmarkRun]]:
    """Pairs of runs: the machine's speed drifts from pair to pair, equally for both runs."""
    pairs = []
    for number in range(count):
        drift = float(generator.lognormal(0.0, 0.2))
        old, new = (
            [drift * f * g for g in generator.lognormal(0.0, spread, size=len(NAMES)).tolist()]
            for f in (1.0, slower)
        )
        pairs.append((a_run(number, old), a_run(number, new)))
    return pairs


def test_judge_pairs_drift_is_ignored_and_ten_percent_found() -> None:
    generator = np.random.default_rng(3)
    alarms = found = 0
    for _ in range(200):
        same = judge_pairs(pairs_of(generator, 8, 0.02, 1.0), FIVE_PERCENT)
        alarms += any(verdict.outcome == "slower" for verdict in same)
        slow = judge_pairs(pairs_of(generator, 8, 0.02, 1.1), FIVE_PERCENT)
        found += all(verdict.outcome == "slower" for verdict in slow)
    assert alarms == 0
    assert found >= 195


def test_judge_pairs_unmeasured_benchmark_has_no_verdict() -> None:
    pairs = [(a_run(n, [1.0, 1.0, 1.0, 1.0]), a_run(n, [1.0, 1.2, None, 0.8])) for n in range(6)]
    verdicts = judge_pairs(pairs, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts] == [
        "no difference shown", "slower", "not measured", "faster",
    ]  # fmt: skip


def test_judge_pairs_benchmark_on_one_side_is_new_or_not_measured() -> None:
    pairs = []
    for number in range(6):
        old, new = a_run(number, [1.0, 1.0, 1.0, 1.0]), a_run(number, [1.0, 1.0, 1.0, 1.0])
        gone, fresh = list(old.results)[2:]
        left = {name: r for name, r in old.results.items() if name != fresh}
        right = {name: r for name, r in new.results.items() if name != gone}
        pairs.append((old._replace(results=left), new._replace(results=right)))
    outcomes = {v.benchmark: (v.outcome, v.group) for v in judge_pairs(pairs, FIVE_PERCENT)}
    assert outcomes[gone] == ("not measured", old.results[gone].group)
    assert outcomes[fresh] == ("new", new.results[fresh].group)
    assert not more_pairs(pairs, FIVE_PERCENT, 6), "more pairs would not help"


def test_more_pairs_disturbed_pairs_are_repeated() -> None:
    disturbed = (a_run(0, [1.0, 1.0, 1.0, 1.0]), a_run(1, [1.0, None, 1.0, 1.0]))
    quiet = (a_run(0, [1.0, 1.0, 1.0, 1.0]), a_run(1, [1.0, 1.0, 1.0, 1.0]))
    pairs = [disturbed] * 5
    while more_pairs(pairs, FIVE_PERCENT, 5):
        pairs.append(quiet)
    assert len(pairs) == 10, "five informative pairs for each benchmark"


def test_more_pairs_constant_load_stops_at_the_minimum() -> None:
    nothing = (a_run(0, [None] * 4), a_run(1, [None] * 4))
    pairs = [nothing] * 4
    while more_pairs(pairs, FIVE_PERCENT, 5):
        pairs.append(nothing)
    assert len(pairs) == 5
    assert {v.outcome for v in judge_pairs(pairs, FIVE_PERCENT)} == {"not measured"}


def test_more_pairs_constant_failure_stops_at_the_minimum() -> None:
    def broken(run: BenchmarkRun) -> BenchmarkRun:
        nothing = Result("", None, failed="out of order")
        return run._replace(results={**run.results, NAMES[0]: nothing})

    good = a_run(0, [1.0, 1.0, 1.0, 1.0])
    pairs = [(good, broken(good))] * 4
    while more_pairs(pairs, FIVE_PERCENT, 5):
        pairs.append((good, broken(good)))
    assert len(pairs) == 5
    verdict = judge_pairs(pairs, Thresholds(0.05, {"freezing": 0.1}))[0]
    assert (verdict.benchmark, verdict.outcome) == (NAMES[0], "not measured")
    assert (verdict.group, verdict.threshold) == ("freezing", 0.1), (
        "the group of the side that has it"
    )
    now_and_then = [(good, broken(good)), *[(good, good)] * 4]
    assert more_pairs(now_and_then, FIVE_PERCENT, 5)


def test_judge_pairs_benchmark_missing_in_one_pair_is_new() -> None:
    whole = a_run(0, [1.0, 1.0, 1.0, 1.0])
    old = whole._replace(results={n: r for n, r in whole.results.items() if n != NAMES[0]})
    pairs = [(old, whole), (old, old), *[(old, whole)] * 4]
    outcomes = {v.benchmark: v.outcome for v in judge_pairs(pairs, FIVE_PERCENT)}
    assert outcomes[NAMES[0]] == "new"


def rounds_in_turn(
    generator: np.random.Generator, slower: float
) -> tuple[tuple[Round, ...], tuple[Round, ...]]:
    """Rounds of both sides while the machine slows down to half its speed."""
    pace = np.linspace(1.0, 2.0, 40) * generator.lognormal(0.0, 0.01, size=40)
    rounds = [Round(float(at), float(seconds)) for at, seconds in enumerate(pace)]
    return tuple(rounds[::2]), tuple(r._replace(seconds=slower * r.seconds) for r in rounds[1::2])


def test_judge_pairs_one_sided_noise_gives_unbiased_ratio() -> None:
    """Comparing one round with the mean of its two neighbours would give 2 % too fast here."""
    generator = np.random.default_rng(11)
    pairs = []
    for _ in range(40):
        noise = 1 + generator.exponential(0.2, size=400)
        rounds = [Round(float(at), float(taken)) for at, taken in enumerate(noise)]
        pairs.append(
            tuple(
                a_run(0, [1.0] * 4)._replace(
                    results={name: Result("freezing", 1.0, None, tuple(side)) for name in NAMES}
                )
                for side in (rounds[::2], rounds[1::2])
            )
        )
    verdict = judge_pairs(pairs, FIVE_PERCENT)[0]  # type: ignore[arg-type]
    assert verdict.ratio == pytest.approx(1, abs=0.005)


def test_judge_pairs_rounds_not_in_turn_are_not_measured() -> None:
    """One side had ended before the other began, so the machine's state may differ."""
    early = tuple(Round(float(at), 1.0) for at in range(10))
    late = tuple(Round(float(at), 2.0) for at in range(20, 30))
    pair = tuple(
        a_run(0, [1.0] * 4)._replace(
            results={name: Result("freezing", 1.0, None, side) for name in NAMES}
        )
        for side in (early, late)
    )
    verdicts = judge_pairs([pair] * 6, FIVE_PERCENT)  # type: ignore[list-item]
    assert {(each.outcome, each.earlier_runs) for each in verdicts} == {("not measured", 0)}


def test_judge_pairs_compares_neighbouring_rounds() -> None:
    """The medians would differ by the machine's drift while only one side was running."""
    generator = np.random.default_rng(5)
    pairs = []
    for number in range(6):
        before, after = rounds_in_turn(generator, slower=1.06)
        early, late = before[:12], after[8:]  # one side began and ended earlier
        pairs.append(
            tuple(
                BenchmarkRun(
                    Path("x"), str(number), "abc", "machine",
                    {"b": Result("", float(np.median([r.seconds for r in each])), rounds=each)},
                )
                for each in (early, late)
            )
        )  # fmt: skip
    (verdict,) = judge_pairs([(old, new) for old, new in pairs], FIVE_PERCENT)
    assert verdict.ratio == pytest.approx(1.06, abs=0.01)
    assert pairs[0][1].results["b"].seconds > 1.2 * pairs[0][0].results["b"].seconds


@pytest.mark.parametrize(("spread", "wanted"), [(0.001, 5), (0.03, 7), (0.3, 25)])
def test_more_pairs_number_of_pairs_grows_with_noise(spread: float, wanted: int) -> None:
    """The number of pairs does not depend on the ratio."""
    for slower in (1.0, 1.2):
        pairs: list[tuple[BenchmarkRun, BenchmarkRun]] = []
        while more_pairs(pairs, FIVE_PERCENT, 5):
            noise = math.exp(spread if len(pairs) % 2 else -spread)
            after = [slower * noise * time for time in (1.0, 2.0, 3.0, 4.0)]
            pairs.append((a_run(0, [1.0, 2.0, 3.0, 4.0]), a_run(1, after)))
        assert len(pairs) == wanted
