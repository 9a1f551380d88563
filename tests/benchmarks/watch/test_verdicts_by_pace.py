"""Verdicts on a machine whose speed changes between runs."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_runs import (
    FIVE_PERCENT,
    changed_code,
    on_a_machine,
    runs_like,
    verdicts_of,
)
from benchmarks.watch.verdicts import judge


def test_judge_varying_machine_pace_is_not_a_change() -> None:
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


def test_judge_uninformative_reference_work_uses_seconds() -> None:
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
def test_judge_unknown_machine_pace_is_not_measured(pace: float) -> None:
    generator = np.random.default_rng(8)
    earlier = [on_a_machine(generator, n, 1.0) for n in range(8)]
    verdicts, machine = judge(on_a_machine(generator, 9, pace, 1.3), earlier, FIVE_PERCENT)
    assert {verdict.outcome for verdict in verdicts} == {"not measured"}
    assert machine is not None
    assert machine.strange
    assert machine.pace == pytest.approx(pace)


@pytest.mark.parametrize(("pace", "outcome"), [(1.02, "slower"), (1.08, "not measured")])
def test_judge_slower_machine_pace_is_not_a_regression(pace: float, outcome: str) -> None:
    """If seconds are compared, they include the slow-down of the machine."""
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


def test_judge_step_of_the_machine_is_not_a_code_change() -> None:
    generator = np.random.default_rng(14)
    earlier = changed_code(generator, [(1.0, 8), (0.85, 12)], reference=True)
    verdicts = verdicts_of(on_a_machine(generator, 50, 1.0), earlier, FIVE_PERCENT)
    assert {v.outcome for v in verdicts} == {"no difference shown"}
    assert verdicts[0].earlier_runs == 20


def test_judge_step_larger_in_reference_work_is_the_machines() -> None:
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
