"""Runs of the benchmarks over time: read, told apart by machine, and judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsbench.measure.history import (
    BenchmarkRun,
    Result,
    Thresholds,
    judge,
    judge_pairs,
    like_runs,
    read_history,
)

FIVE_PERCENT = Thresholds(0.05)
NAMES = [f"test_phases.py::test_freezing[{n}]" for n in "abcd"]


def a_run(number: int, seconds: Sequence[float | None]) -> BenchmarkRun:
    results = {n: Result("freezing", s) for n, s in zip(NAMES, seconds, strict=True)}
    return BenchmarkRun(Path("x"), f"2026-01-01T00:00:{number:02}", "abc", "machine", results)


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
        verdicts = judge(new, earlier, Thresholds(0.0))
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
        alarms += any(v.outcome == "slower" for v in judge(new, earlier, Thresholds(0.0)))
        first = new.results["b0"]
        slow = new._replace(results={**new.results, "b0": Result("", 1.15 * (first.seconds or 0))})
        found += judge(slow, earlier, FIVE_PERCENT)[0].outcome == "slower"
    assert alarms <= 4
    assert found >= 140


def test_a_benchmark_that_is_gone_is_not_measured() -> None:
    earlier = [a_run(n, [1.0, 2.0, 3.0, 4.0]) for n in range(6)]
    new = a_run(9, [1.0, 2.0, 3.0, 4.0])
    less = new._replace(results={n: r for n, r in new.results.items() if n != NAMES[1]})
    assert {v.benchmark: v.outcome for v in judge(less, earlier, FIVE_PERCENT)} == {
        name: "not measured" if name == NAMES[1] else "no difference shown" for name in NAMES
    }
    chosen = less._replace(selection="only a few")
    assert len(judge(chosen, earlier, FIVE_PERCENT)) == 3, "it was not asked for"


def test_a_slow_down_of_ten_percent_is_found_where_runs_differ_by_one() -> None:
    generator = np.random.default_rng(2)
    found = 0
    for _ in range(200):
        earlier = runs_like(generator, 8, 0.01)
        (slow,) = runs_like(generator, 1, 0.01, slower=1.10)
        found += all(v.outcome == "slower" for v in judge(slow, earlier, FIVE_PERCENT))
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
    for verdict in judge(new, earlier, FIVE_PERCENT):
        assert verdict.outcome == outcome
        assert verdict.ratio == pytest.approx(slower)


def test_noise_between_runs_forbids_small_claims() -> None:
    earlier = [a_run(n, [1.0 + 0.2 * (n % 2), 2, 3, 4]) for n in range(8)]
    verdicts = judge(a_run(9, [1.25, 2, 3, 4]), earlier, FIVE_PERCENT)
    assert {verdict.outcome for verdict in verdicts} == {"no difference shown"}
    assert verdicts[0].limit is not None
    assert verdicts[0].limit > 1.14


def test_without_enough_there_is_no_verdict() -> None:
    earlier = [a_run(n, [1.0, 2.0, None if n else 3.0, 4.0]) for n in range(5)]
    verdicts = judge(a_run(9, [1.0, None, 3.0, 9.0]), earlier, FIVE_PERCENT)
    assert [verdict.outcome for verdict in verdicts] == [
        "no difference shown", "not measured", "too few runs", "slower",
    ]  # fmt: skip
    assert [v.outcome for v in judge(a_run(9, [1, 2, 3, 4]), earlier[:4], FIVE_PERCENT)] == [
        "too few runs"
    ] * 4


def test_the_longest_fitting_threshold_counts() -> None:
    thresholds = Thresholds(0.05, {"freezing": 0.1, "freezing: train": 0.2, "[all]": 0.3})
    assert thresholds.of("x[last]", "pooling: forward") == 0.05
    assert thresholds.of("x[last]", "freezing: forward") == 0.1
    assert thresholds.of("x[last]", "freezing: train step") == 0.2
    assert thresholds.of("x[all]", "freezing: forward") == 0.1
    assert thresholds.of("x[all]", "pooling") == 0.3


# --- files ----------------------------------------------------------------------------------------


def written(folder: Path, number: int, **changes: Any) -> Path:
    content = {
        "machine_info": {"node": "x", "clsbench": {"cpu": "A", "threads": 2}},
        "commit_info": {"id": "0123456789abcdef", "dirty": number == 2},
        "datetime": f"2026-01-0{number}T00:00:00",
        "benchmarks": [
            {
                "fullname": NAMES[0],
                "group": "freezing",
                "stats": {"median": 1.0},
                "extra_info": {"quiet_median_seconds": 0.5 * number, "device": "cpu"},
            }
        ],
        **changes,
    }
    file = folder / "Linux" / f"000{number}_run.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def test_runs_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        written(tmp_path, number)
    history = read_history(tmp_path)
    assert [run.results[NAMES[0]].seconds for run in history.runs] == [0.5, 1.0, 1.5]
    assert [run.commit for run in history.runs] == ["0123456789", "0123456789-dirty", "0123456789"]
    assert history.problems == ()
    assert read_history(tmp_path / "nowhere").runs == ()


def test_only_like_machines_are_compared(tmp_path: Path) -> None:
    written(tmp_path, 1)
    written(tmp_path, 2, machine_info={"clsbench": {"cpu": "A", "threads": 1}})
    written(tmp_path, 3, machine_info={"clsbench": {"threads": 2, "cpu": "A"}, "node": "other"})
    history = read_history(tmp_path)
    assert [run.date for run in like_runs(history, history.runs[2])] == ["2026-01-01T00:00:00"]
    assert like_runs(history, history.runs[1]) == ()


def test_files_that_are_no_runs_are_named_and_skipped(tmp_path: Path) -> None:
    written(tmp_path, 1)
    written(tmp_path, 2).write_text("{")
    written(tmp_path, 3, machine_info={"node": "x"})
    (tmp_path / "other.json").write_text("[1, 2]")
    written(tmp_path, 4, machine_info={"clsbench": None})
    impossible = {"fullname": "x", "extra_info": {"quiet_median_seconds": -1.0}}
    written(tmp_path, 5, benchmarks=[impossible])
    history = read_history(tmp_path)
    assert len(history.runs) == 1
    assert len(history.problems) == 5
    for number in (2, 3, 4, 5):
        assert f"000{number}_run.json is no run of these benchmarks" in " ".join(history.problems)


def test_what_was_not_finished_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / ".a-unfinished"
    folder.mkdir()
    written(folder, 1)
    assert read_history(tmp_path) == ((), ())
    assert len(read_history(folder).runs) == 1, "it is about what lies below the folder"


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
