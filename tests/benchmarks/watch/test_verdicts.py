"""Runs of the benchmarks, judged by earlier ones and in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.watch.history import BenchmarkRun, Result, Round
from benchmarks.watch.verdicts import Thresholds, Verdict, judge, judge_pairs, more_pairs
from scipy import stats

FIVE_PERCENT = Thresholds(0.05)
NAMES = [f"test_phases.py::test_freezing[{n}]" for n in "abcd"]


def a_run(number: int, seconds: Sequence[float | None]) -> BenchmarkRun:
    results = {n: Result("freezing", s) for n, s in zip(NAMES, seconds, strict=True)}
    return BenchmarkRun(Path("x"), f"2026-01-01T00:00:{number:02}", "abc", "machine", results)


def verdicts_of(
    run: BenchmarkRun, earlier: Sequence[BenchmarkRun], thresholds: Thresholds
) -> tuple[Verdict, ...]:
    return judge(run, earlier, thresholds).verdicts


def runs_like(
    generator: np.random.Generator, count: int, spread: float, slower: float = 1.0
) -> list[BenchmarkRun]:
    """Runs whose medians of about 1, 2, 3 and 4 ms vary by ``spread`` from run to run."""
    factors = slower * generator.lognormal(0.0, spread, size=(count, len(NAMES)))
    return [
        a_run(number, [0.001 * (n + 1) * f for n, f in enumerate(row)])
        for number, row in enumerate(factors.tolist())
    ]


@pytest.mark.parametrize("spread", [0.002, 0.01, 0.03])
def test_false_alarms_are_as_rare_as_promised(spread: float) -> None:
    generator = np.random.default_rng(1)
    alarms = checks = 0
    for _ in range(500):
        *earlier, new = runs_like(generator, 9, spread)
        verdicts = verdicts_of(new, earlier, Thresholds(0.0))
        alarms += any(verdict.outcome == "slower" for verdict in verdicts)
        checks += 1
    assert checks == 500
    assert alarms <= 8, "one run in two hundred is promised: 2.5 are expected"


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
def test_a_noisy_benchmark_neither_cries_wolf_nor_hides_the_quiet_ones(
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


def test_a_benchmark_that_is_gone_is_not_measured() -> None:
    earlier = [a_run(n, [1.0, 2.0, 3.0, 4.0]) for n in range(6)]
    new = a_run(9, [1.0, 2.0, 3.0, 4.0])
    less = new._replace(results={n: r for n, r in new.results.items() if n != NAMES[1]})
    assert {v.benchmark: v.outcome for v in verdicts_of(less, earlier, FIVE_PERCENT)} == {
        name: "not measured" if name == NAMES[1] else "no difference shown" for name in NAMES
    }
    chosen = less._replace(selection="only a few")
    assert len(verdicts_of(chosen, earlier, FIVE_PERCENT)) == 3, "it was not asked for"


def test_a_slow_down_of_ten_percent_is_found_where_runs_differ_by_one() -> None:
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
def test_what_is_below_the_threshold_does_not_matter(slower: float, outcome: str) -> None:
    earlier = [a_run(n, [1.0, 2.0, 3.0, 4.0]) for n in range(6)]
    new = a_run(9, [slower, 2 * slower, 3 * slower, 4 * slower])
    for verdict in verdicts_of(new, earlier, FIVE_PERCENT):
        assert verdict.outcome == outcome
        assert verdict.ratio == pytest.approx(slower)


def test_noise_between_runs_forbids_small_claims() -> None:
    earlier = [a_run(n, [1.0 + 0.2 * (n % 2), 2, 3, 4]) for n in range(8)]
    verdicts = verdicts_of(a_run(9, [1.25, 2, 3, 4]), earlier, FIVE_PERCENT)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes == ["not measured", *["no difference shown"] * 3]
    assert verdicts[0].limit is not None
    assert verdicts[0].limit > 1.14
    verdicts = verdicts_of(a_run(9, [2.0, 2, 3, 4]), earlier, FIVE_PERCENT)
    assert verdicts[0].outcome == "slower", "whatever the noise"


def test_what_an_earlier_run_took_without_a_change_is_not_slower() -> None:
    """A benchmark with two speeds, of which the other is rare."""
    earlier = [a_run(n, [1.08 if n == 2 else 1.0, 2, 3, 4]) for n in range(12)]
    verdicts = verdicts_of(a_run(13, [1.08, 2.16, 3, 4]), earlier, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts[:2]] == ["no difference shown", "slower"]


def test_without_enough_there_is_no_verdict() -> None:
    earlier = [a_run(n, [1.0, 2.0, None if n else 3.0, 4.0]) for n in range(5)]
    verdicts = verdicts_of(a_run(9, [1.0, None, 3.0, 9.0]), earlier, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts] == [
        "no difference shown", "not measured", "too few runs", "slower",
    ]  # fmt: skip
    assert [v.outcome for v in verdicts_of(a_run(9, [1, 2, 3, 4]), earlier[:4], FIVE_PERCENT)] == [
        "too few runs"
    ] * 4


def test_the_longest_fitting_threshold_counts() -> None:
    thresholds = Thresholds(0.05, {"freezing": 0.1, "freezing: train": 0.2, "[all]": 0.3})
    assert thresholds.of("x[last]", "pooling: forward") == 0.05
    assert thresholds.of("x[last]", "freezing: forward") == 0.1
    assert thresholds.of("x[last]", "freezing: train step") == 0.2
    assert thresholds.of("x[all]", "freezing: forward") == 0.1
    assert thresholds.of("x[all]", "pooling") == 0.3


# --- two checkouts in turn ------------------------------------------------------------------------


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


# --- the machine's own pace -----------------------------------------------------------------------


def on_a_machine(
    generator: np.random.Generator, number: int, pace: float, slower: float = 1.0
) -> BenchmarkRun:
    """A run whose times follow the pace of the machine, as the reference work does."""
    factors = (slower * pace * generator.lognormal(0.0, 0.01, size=len(NAMES))).tolist()
    reference = 0.005 * pace
    run = a_run(number, factors)
    results = {
        name: result._replace(of_reference=(result.seconds or 0.0) / reference)
        for name, result in run.results.items()
    }
    return run._replace(results=results, reference_seconds=reference)


def test_a_machine_that_changes_its_pace_is_not_taken_for_a_change() -> None:
    generator = np.random.default_rng(6)
    alarms = found = 0
    for _ in range(100):
        earlier = [on_a_machine(generator, n, 1.3 ** (n % 2)) for n in range(8)]
        alarms += any(
            v.outcome != "no difference shown"
            for v in judge(on_a_machine(generator, 9, 1.3), earlier, FIVE_PERCENT).verdicts
        )
        slow, machine = judge(on_a_machine(generator, 9, 1.15, 1.1), earlier, FIVE_PERCENT)
        found += all(verdict.outcome == "slower" for verdict in slow)
        assert machine is not None
        assert machine.relative
        assert machine.highest / machine.lowest == pytest.approx(1.3)
    assert alarms <= 1
    assert found >= 98


def test_seconds_are_judged_where_the_reference_work_explains_nothing() -> None:
    generator = np.random.default_rng(7)
    earlier = [
        run._replace(reference_seconds=0.005, results={
            name: result._replace(of_reference=(result.seconds or 0.0) * (1 + 0.2 * (n % 2)))
            for name, result in run.results.items()
        })
        for n, run in enumerate(runs_like(generator, 8, 0.01))
    ]  # fmt: skip
    (slow,) = runs_like(generator, 1, 0.01, slower=1.15)
    verdicts, machine = judge(slow._replace(reference_seconds=0.005), earlier, FIVE_PERCENT)
    assert machine is not None
    assert not machine.relative
    assert {verdict.outcome for verdict in verdicts} == {"slower"}


@pytest.mark.parametrize("pace", [0.7, 1.6])
def test_in_a_state_that_was_never_seen_nothing_is_measured(pace: float) -> None:
    generator = np.random.default_rng(8)
    earlier = [on_a_machine(generator, n, 1.0) for n in range(8)]
    verdicts, machine = judge(on_a_machine(generator, 9, pace, 1.3), earlier, FIVE_PERCENT)
    assert {verdict.outcome for verdict in verdicts} == {"not measured"}
    assert machine is not None
    assert machine.strange
    assert machine.pace == pytest.approx(pace)


@pytest.mark.parametrize(("pace", "outcome"), [(1.02, "slower"), (1.08, "not measured")])
def test_a_machine_that_is_slower_than_ever_is_no_slow_down(pace: float, outcome: str) -> None:
    """Where seconds are judged, all of it shows in them."""
    earlier = [
        on_a_machine(np.random.default_rng(n), n, 1.0)._replace(reference_seconds=0.005)
        for n in range(20)
    ]
    generator = np.random.default_rng(12)
    noisy = [
        run._replace(results={
            name: r._replace(of_reference=(r.of_reference or 0.0) * generator.lognormal(0.0, 0.03))
            for name, r in run.results.items()
        })
        for run in earlier
    ]  # fmt: skip
    verdicts, machine = judge(on_a_machine(generator, 21, pace, 1.1), noisy, FIVE_PERCENT)
    assert machine is not None
    assert not machine.relative
    assert {verdict.outcome for verdict in verdicts} == {outcome}


def changed_code(
    generator: np.random.Generator, speeds: Sequence[tuple[float, int]], reference: bool
) -> list[BenchmarkRun]:
    """So many runs at each speed, at a commit each; ``reference``: the machine does it."""
    runs = []
    for commit, (speed, count) in enumerate(speeds):
        for _ in range(count):
            pace, slower = (speed, 1.0) if reference else (1.0, speed)
            run = on_a_machine(generator, len(runs), pace, slower)
            runs.append(run._replace(commit=str(commit)))
    return runs


@pytest.mark.parametrize("speeds", [[(1.0, 8), (0.85, 12)], [(0.7, 6), (1.0, 8), (0.85, 5)]])
def test_a_change_that_stays_is_what_later_runs_are_judged_by(
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


def test_a_step_of_the_machine_is_no_change_of_the_code() -> None:
    generator = np.random.default_rng(14)
    earlier = changed_code(generator, [(1.0, 8), (0.85, 12)], reference=True)
    verdicts = verdicts_of(on_a_machine(generator, 50, 1.0), earlier, FIVE_PERCENT)
    assert {v.outcome for v in verdicts} == {"no difference shown"}
    assert verdicts[0].earlier_runs == 20


def test_a_step_that_the_reference_work_makes_more_than_others_is_the_machines() -> None:
    generator = np.random.default_rng(16)
    earlier = [
        run._replace(
            reference_seconds=0.006 if number >= 8 else 0.005,
            results={
                name: r._replace(of_reference=(r.seconds or 0) / (0.006 if number >= 8 else 0.005))
                for name, r in run.results.items()
            },
        )
        for number, run in enumerate(
            changed_code(generator, [(1.0, 8), (1.08, 12)], reference=False))
    ]  # fmt: skip
    verdicts = verdicts_of(on_a_machine(generator, 50, 1.0), earlier, FIVE_PERCENT)
    assert verdicts[0].earlier_runs == 20
    assert "slower" not in {v.outcome for v in verdicts}


def test_no_step_is_seen_in_noise() -> None:
    generator = np.random.default_rng(15)
    cut = 0
    for _ in range(200):
        earlier = [r._replace(commit=str(n)) for n, r in enumerate(
            changed_code(generator, [(1.0, 20)], reference=False))]  # fmt: skip
        new = on_a_machine(generator, 50, 1.0)
        cut += sum(v.earlier_runs < 20 for v in verdicts_of(new, earlier, FIVE_PERCENT))
    assert cut <= 2, "of 800"


def test_runs_without_reference_work_are_judged_by_seconds() -> None:
    generator = np.random.default_rng(9)
    earlier = [on_a_machine(generator, n, 1) for n in range(8)]
    earlier[0] = earlier[0]._replace(reference_seconds=None)
    verdicts, machine = judge(on_a_machine(generator, 9, 3.0), earlier, FIVE_PERCENT)
    assert machine is None
    assert verdicts[0].outcome == "slower"


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


def test_benchmarks_borrow_no_more_than_the_others_know() -> None:
    """Four that vary alike: four times the degrees of freedom of one, and not as many as one
    likes."""
    times = [1.0, 1.03, 0.98, 1.01, 0.97, 1.02, 1.0, 0.99]
    earlier = [a_run(n, [time, 2 * time, time, time]) for n, time in enumerate(times)]
    verdict = verdicts_of(a_run(9, [1.0, 2.0, 1.0, 1.0]), earlier, FIVE_PERCENT)[0]
    deviation = float(np.std(np.log(times), ddof=1))
    # Four comparisons at one in two hundred; the variance of one and of a middle of eight.
    far = float(stats.t.isf(0.005 / 4, 28)) * deviation * math.sqrt(1 + math.pi / 16)
    assert verdict.limit == pytest.approx(math.exp(far), rel=0.01)
