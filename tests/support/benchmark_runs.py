"""Generated runs of benchmarks, and verdicts on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.watch.history import BenchmarkRun, Result
from benchmarks.watch.verdicts import Thresholds, Verdict, judge

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


def changed_code(
    generator: np.random.Generator, speeds: Sequence[tuple[float, int]], reference: bool
) -> list[BenchmarkRun]:
    """Runs at several speeds, one commit per speed; ``reference``: the machine's speed changes."""
    runs = []
    for commit, (speed, count) in enumerate(speeds):
        for _ in range(count):
            pace, slower = (speed, 1.0) if reference else (1.0, speed)
            run = on_a_machine(generator, len(runs), pace, slower)
            runs.append(run._replace(commit=str(commit)))
    return runs
