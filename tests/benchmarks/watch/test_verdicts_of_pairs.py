"""Verdicts on two checkouts that run in turn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.watch.history import BenchmarkRun, Result, Round
from benchmarks.watch.verdicts import Thresholds, judge_pairs, more_pairs
from tests.support.benchmark_runs import (
    FIVE_PERCENT,
    NAMES,
    a_run,
)


def pairs_of(
    generator: np.random.Generator, count: int, spread: float, slower: float
) -> list[tuple[BenchmarkRun, BenchmarkRun]]:
    """The machine drifts from pair to pair, and both runs of a pair with it."""
    pairs = []
    for number in range(count):
        drift = float(generator.lognormal(0.0, 0.2))
        old, new = (
            [drift * f * g for g in generator.lognormal(0.0, spread, size=len(NAMES)).tolist()]
            for f in (1.0, slower)
        )
        pairs.append((a_run(number, old), a_run(number, new)))
    return pairs


def test_pairs_are_blind_to_drift_and_see_ten_percent() -> None:
    generator = np.random.default_rng(3)
    alarms = found = 0
    for _ in range(200):
        same = judge_pairs(pairs_of(generator, 8, 0.02, 1.0), FIVE_PERCENT)
        alarms += any(verdict.outcome == "slower" for verdict in same)
        slow = judge_pairs(pairs_of(generator, 8, 0.02, 1.1), FIVE_PERCENT)
        found += all(verdict.outcome == "slower" for verdict in slow)
    assert alarms == 0
    assert found >= 195


def test_pairs_that_could_not_be_measured_have_no_verdict() -> None:
    pairs = [(a_run(n, [1.0, 1.0, 1.0, 1.0]), a_run(n, [1.0, 1.2, None, 0.8])) for n in range(6)]
    verdicts = judge_pairs(pairs, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts] == [
        "no difference shown", "slower", "not measured", "faster",
    ]  # fmt: skip


def test_what_only_one_side_of_a_pair_has_is_no_silent_success() -> None:
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
    assert not more_pairs(pairs, FIVE_PERCENT, 6), "more of them would not help"


def test_pairs_that_were_disturbed_are_followed_by_others() -> None:
    disturbed = (a_run(0, [1.0, 1.0, 1.0, 1.0]), a_run(1, [1.0, None, 1.0, 1.0]))
    quiet = (a_run(0, [1.0, 1.0, 1.0, 1.0]), a_run(1, [1.0, 1.0, 1.0, 1.0]))
    pairs = [disturbed] * 5
    while more_pairs(pairs, FIVE_PERCENT, 5):
        pairs.append(quiet)
    assert len(pairs) == 10, "five informative ones for each"


def test_a_load_that_stays_is_not_waited_for() -> None:
    nothing = (a_run(0, [None] * 4), a_run(1, [None] * 4))
    pairs = [nothing] * 4
    while more_pairs(pairs, FIVE_PERCENT, 5):
        pairs.append(nothing)
    assert len(pairs) == 5
    assert {v.outcome for v in judge_pairs(pairs, FIVE_PERCENT)} == {"not measured"}


def test_what_always_fails_is_not_tried_more_often() -> None:
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
    assert (verdict.group, verdict.threshold) == ("freezing", 0.1), "as the side says that has it"
    now_and_then = [(good, broken(good)), *[(good, good)] * 4]
    assert more_pairs(now_and_then, FIVE_PERCENT, 5)


def test_what_one_pair_alone_lacks_breaks_nothing() -> None:
    whole = a_run(0, [1.0, 1.0, 1.0, 1.0])
    old = whole._replace(results={n: r for n, r in whole.results.items() if n != NAMES[0]})
    pairs = [(old, whole), (old, old), *[(old, whole)] * 4]
    outcomes = {v.benchmark: v.outcome for v in judge_pairs(pairs, FIVE_PERCENT)}
    assert outcomes[NAMES[0]] == "new"


def rounds_in_turn(
    generator: np.random.Generator, slower: float
) -> tuple[tuple[Round, ...], tuple[Round, ...]]:
    """The machine slows down to half its pace within one run, which both see."""
    pace = np.linspace(1.0, 2.0, 40) * generator.lognormal(0.0, 0.01, size=40)
    rounds = [Round(float(at), float(seconds)) for at, seconds in enumerate(pace)]
    return tuple(rounds[::2]), tuple(r._replace(seconds=slower * r.seconds) for r in rounds[1::2])


def test_noise_that_only_slows_favours_nobody() -> None:
    """The middle of one round less a mean of two would be 2 % too fast here."""
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


def test_rounds_that_were_not_in_turn_tell_nothing_of_a_pair() -> None:
    """One side had ended before the other began: the hour would be compared."""
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


def test_rounds_in_turn_are_compared_with_their_neighbours() -> None:
    """The medians would differ by what the machine did while one side was at work."""
    generator = np.random.default_rng(5)
    pairs = []
    for number in range(6):
        before, after = rounds_in_turn(generator, slower=1.06)
        early, late = before[:12], after[8:]  # one began sooner, and ended sooner
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
def test_pairs_that_differ_much_are_followed_by_more(spread: float, wanted: int) -> None:
    """Whatever the ratio is."""
    for slower in (1.0, 1.2):
        pairs: list[tuple[BenchmarkRun, BenchmarkRun]] = []
        while more_pairs(pairs, FIVE_PERCENT, 5):
            noise = math.exp(spread if len(pairs) % 2 else -spread)
            after = [slower * noise * time for time in (1.0, 2.0, 3.0, 4.0)]
            pairs.append((a_run(0, [1.0, 2.0, 3.0, 4.0]), a_run(1, after)))
        assert len(pairs) == wanted
