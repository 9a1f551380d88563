"""The benchmark of the trials of a tuned row, with a tiny backbone: not how fast they are."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from record_examples import make_record
from rich.console import Console
from small_runs import run_small

from trial_clock import FILE_VARIABLE, FINISHED, Moment, read_moments
from trials import CLOCK, Cost, Report, Trial, check_equal, measure, table, trials_of, verdict


def moments(*events: tuple[str, float], process: int = 1) -> list[Moment]:
    """The processor time runs half as fast as the clock."""
    return [
        Moment(event=event, process=process, seconds=at, processor_seconds=at / 2)
        for event, at in events
    ]


FIRST = moments(("model", 10), ("training", 14), ("evaluation", 16), ("baselines", 17),
                (FINISHED, 20))  # fmt: skip
SECOND = moments(("model", 21), ("training", 22), ("evaluation", 26), ("baselines", 28),
                 (FINISHED, 29))  # fmt: skip


def test_trials_of_moments_sums_both_parts_from_end_to_end() -> None:
    assert trials_of([*FIRST, *SECOND]) == (
        Trial(training_and_evaluation=Cost(3, 1.5), beyond=Cost(7, 3.5)),
        Trial(training_and_evaluation=Cost(6, 3), beyond=Cost(3, 1.5)),
    )


def test_trials_of_two_processes_are_refused() -> None:
    with pytest.raises(click.ClickException, match="did not run in one process"):
        trials_of([*FIRST, *moments(("model", 3), process=2)])


def test_trial_clock_records_phases_and_end_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "moments"))
    record = run_small(tmp_path / "runs", plugins=[str(CLOCK)], freezing="head-only").record
    found = read_moments(tmp_path / "moments")
    assert [moment.event for moment in found] == [*record.phases_seconds, FINISHED]
    assert found == sorted(found, key=lambda moment: moment.seconds)
    (trial,) = trials_of(found)
    training = record.phases_seconds["training"] + record.phases_seconds["evaluation"]
    assert trial.training_and_evaluation.seconds == pytest.approx(training, abs=0.05)


def test_check_equal_other_metrics_or_settings_are_refused() -> None:
    record = make_record()
    check_equal([record], [record])
    for other in ({"run_key": "another"}, {"metrics": None}):
        with pytest.raises(click.ClickException, match="differs from the trial"):
            check_equal([msgspec.structs.replace(record, **other)], [record])


def test_report_shows_ratio_goal_and_load() -> None:
    report = Report(
        backbone="x", texts=80, threads=1, cpu="a processor", cores=2, torch="2",
        trials=trials_of([*FIRST, *SECOND]), suite=Cost(20, 10),
        separate_runs=(Cost(8, 4), Cost(30, 15), Cost(30, 45)),
        foreign_cores=1.26, prefix_texts=70, prefix_texts_computed=70, bytecode_kept=False,
    )  # fmt: skip
    assert report.separately == Cost(60, 30)
    console = Console(width=200, record=True)
    console.print(table(report))
    console.print(verdict(report))
    text = console.export_text()
    for shown in ("2 times that", "3.0", "not reached in processor time", "up to 1.3 of 2 cores",
                  "70 texts", "PYTHONDONTWRITEBYTECODE"):  # fmt: skip
        assert shown in text


@pytest.mark.slow
def test_measure_runs_trials_in_one_process_with_one_prefix() -> None:
    report = measure(trials=2, separate=1, backbone="gpt2-nano", texts=40, threads=1)
    assert len(report.trials) == 2
    assert len(report.separate_runs) == 1
    assert report.prefix_texts_computed == report.prefix_texts > 30
    for cost in (report.suite, report.separately, report.trials[1].beyond):
        assert cost.seconds > 0
        assert cost.processor_seconds > 0
