"""Tuned suites: every row has the same trials, and becomes the one that validation chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from metric_examples import CATALOG

from clsbench.analysis.suite_figures import suite_figures
from clsbench.analysis.suite_table import suite_table
from clsbench.analysis.tuning import choose
from clsbench.components.catalog import Catalog
from clsbench.errors import UsageError
from clsbench.report.page.commands import row_command
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun, read_record, scan
from clsbench.results.suite_results import SuiteResults, read_suite_results, trials_not_chosen
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import SuiteRow
from clsbench.schema.tuning import TuneSpec
from clsbench.suites.run import run_suite
from clsbench.suites.tuning import with_stored
from suites import SUITE, InProcess, RecordingObserver, plan, run

TUNE = TuneSpec(space={"train.lr": (1e-4, 1e-3, 1e-2), "train.epochs": (1, 2)}, trials=2)
ROWS = SUITE.rows[:2]
TUNED = msgspec.structs.replace(SUITE, rows=ROWS, tune=TUNE)


def tuned(**fields: Any) -> Any:
    return msgspec.structs.replace(TUNED, **fields)


def trials_of(results: SuiteResults, place: int) -> Any:
    tuning = results.rows[place].tuning
    assert tuning is not None
    return tuning


def test_run_suite_tuned_rows_become_the_trial_with_the_best_validation_score(
    options: RunOptions, catalog: Catalog
) -> None:
    planned = plan(options, catalog, TUNED)
    assert planned.runs_expected() == len(planned.runs()) == 4
    assert all(row.modified for row in planned.rows)
    results, observer = run(planned, options)
    assert observer.statuses() == ["running", "finished"] * 4
    points = [[trial.point for trial in trials_of(results, place).trials] for place in (0, 1)]
    assert points[0] == points[1], "every row tries the same"
    for row in results.rows:
        tuning = row.tuning
        assert tuning is not None
        records = [read_record(options.out / str(trial.run)) for trial in tuning.trials]
        for trial, record in zip(tuning.trials, records, strict=True):
            assert record.metrics is not None
            assert trial.score == record.metrics.validation.accuracy
            assert trial.validation_loss == record.metrics.validation.loss
            assert record.spec["train"]["lr"] == trial.point["train.lr"]
        assert tuning.chosen == choose(tuning.trials)
        assert tuning.chosen is not None
        assert row.runs == (tuning.trials[tuning.chosen].run,)
        assert not row.errors
        assert not row.waiting
    assert read_suite_results(options.out, "small") == results

    figures = suite_figures(results, options.out, CATALOG)
    assert figures.comparison is not None
    compared = {run for each in figures.comparison.contenders for run in each.runs}
    assert compared == {run for row in results.rows for run in row.runs}, "winners only"
    assert [row.choice is not None for row in figures.rows] == [True, True]
    table = suite_table(figures)
    assert list(table["trials"][:2]) == [2, 2]
    command = row_command(figures.rows[0], results, catalog)
    assert command is not None
    assert f"--set train.lr={figures.rows[0].choice.point['train.lr']}" in command  # type: ignore[union-attr]

    again, observer = run(plan(options, catalog, TUNED), options)
    assert observer.statuses() == ["stored"] * 4
    assert [row.runs for row in again.rows] == [row.runs for row in results.rows]


@pytest.mark.slow
def test_run_suite_with_more_trials_keeps_the_first_ones(
    options: RunOptions, catalog: Catalog
) -> None:
    run(plan(options, catalog, TUNED), options)
    more = tuned(tune=msgspec.structs.replace(TUNE, trials=3))
    _, observer = run(plan(options, catalog, more), options)
    assert sorted(observer.statuses()) == ["finished"] * 2 + ["running"] * 2 + ["stored"] * 4
    other = tuned(rows=ROWS[:1], tune=TUNE)
    run(plan(options, catalog, other), options)
    kept = read_suite_results(options.out, "small").rows
    assert [row.label for row in kept] == ["1"], "rows with another budget are another table"


@pytest.mark.slow
def test_run_suite_tuned_with_seeds_repeats_the_chosen_trial_alone(
    options: RunOptions, catalog: Catalog
) -> None:
    spec = tuned(rows=ROWS[:1])
    planned = plan(options, catalog, spec, seeds=(5, 6, 7))
    assert planned.runs_expected() == 4
    results, observer = run(planned, options)
    assert observer.statuses().count("finished") == 4
    (row,) = results.rows
    assert row.tuning is not None
    assert row.tuning.chosen_trial is not None
    assert row.runs[0] == row.tuning.chosen_trial.run
    records = [read_record(options.out / name) for name in row.runs]
    assert [record.spec["seed"] for record in records] == [5, 6, 7]
    assert len({str(record.spec["train"]) for record in records}) == 1
    stored, _ = with_stored(plan(options, catalog, spec, seeds=(5, 6, 7)), options.out)
    assert stored.rows[0].chosen == row.tuning.chosen
    assert len(stored.runs()) == stored.runs_expected() == 4
    assert row.final_changes()["train.lr"] == records[0].spec["train"]["lr"]


@pytest.mark.slow
def test_run_suite_chooses_by_the_primary_metric_from_stored_runs(
    options: RunOptions, catalog: Catalog
) -> None:
    """The runs did not list the metric, so it is computed from their validation predictions."""
    spec = tuned(rows=ROWS[:1])
    by_accuracy, _ = run(plan(options, catalog, spec, metrics=[]), options)
    results, observer = run(plan(options, catalog, spec, metrics=[], metric="log-loss"), options)
    assert observer.statuses() == ["stored"] * 2
    before, after = (trials_of(each, 0) for each in (by_accuracy, results))
    assert (before.metric, after.metric, after.lower) == ("accuracy", "log-loss", True)
    losses = []
    for trial in after.trials:
        path = options.out / str(trial.run)
        predicted = read_predictions(StoredRun(path, read_record(path)), "validation")
        right = predicted.probabilities[range(len(predicted.labels)), predicted.labels]
        losses.append(float(-np.log(right).mean()))
    scores = [trial.score for trial in after.trials]
    assert scores == pytest.approx(losses)
    assert after.chosen == scores.index(min(scores))


@pytest.mark.slow
def test_run_suite_failed_trials_count_and_are_not_chosen(
    options: RunOptions, catalog: Catalog
) -> None:
    tune = TuneSpec(space={"train.lr": (1e30, 1e-3)}, tuner="grid")
    results, _ = run(plan(options, catalog, tuned(rows=ROWS[:1], tune=tune)), options)
    (row,) = results.rows
    assert not row.errors, "a failed trial is not a failed row"
    failed, good = trials_of(results, 0).trials
    assert "loss" in failed.error
    assert (failed.score, failed.run) == (None, None)
    assert row.runs == (good.run,)
    hopeless = TuneSpec(space={"train.lr": (1e30, 1e29)}, tuner="grid")
    results, _ = run(plan(options, catalog, tuned(rows=ROWS[:1], tune=hopeless)), options)
    assert results.rows[0].errors[0].startswith("all 2 trials failed; the first: ")
    assert not results.rows[0].runs


@pytest.mark.slow
def test_run_suite_interrupted_while_tuning_chooses_nothing(
    options: RunOptions, catalog: Catalog
) -> None:
    class Stops(InProcess, frozen=True):
        """Is interrupted after two trials."""

        def execute(self, jobs: Any, at_once: Any, scheduler: Any) -> None:
            super().execute(jobs[:2], at_once, scheduler)
            raise KeyboardInterrupt

    spec = tuned(rows=ROWS[:1], tune=msgspec.structs.replace(TUNE, trials=3))
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog, spec), Stops(), options, None, RecordingObserver())
    results = read_suite_results(options.out, "small")
    tuning = trials_of(results, 0)
    assert tuning.chosen is None
    assert [trial.ended for trial in tuning.trials] == [True, True, False]
    assert (results.rows[0].runs, results.rows[0].waiting) == ((), 1)
    assert suite_figures(results, options.out, CATALOG).rows[0].state == "being tuned"
    _, observer = run(plan(options, catalog, spec), options)
    assert sorted(observer.statuses()) == ["finished", "running", "stored", "stored"]


@pytest.mark.slow
def test_run_suite_repeated_by_force_keeps_the_choice_until_all_trials_are_repeated(
    options: RunOptions, catalog: Catalog
) -> None:
    class Stops(InProcess, frozen=True):
        """Is interrupted after one trial."""

        def execute(self, jobs: Any, at_once: Any, scheduler: Any) -> None:
            super().execute(jobs[:1], at_once, scheduler)
            raise KeyboardInterrupt

    spec = tuned(rows=ROWS[:1])
    (before,) = run(plan(options, catalog, spec), options)[0].rows
    assert before.tuning is not None
    (loser,) = {str(trial.run) for trial in before.tuning.trials} - set(before.runs)
    with pytest.raises(KeyboardInterrupt):
        run_suite(
            plan(options, catalog, spec), Stops(), options, None, RecordingObserver(), force=True
        )
    (during,) = read_suite_results(options.out, "small").rows
    assert during.runs == before.runs
    (repeated,) = {run.path.name for run in scan(options.out).runs} - {loser, *before.runs}
    assert trials_not_chosen(options.out).keys() == {loser, repeated}

    results, _ = run(plan(options, catalog, spec), options, force=True)
    (after,) = results.rows
    assert after.tuning is not None
    assert not {str(trial.run) for trial in after.tuning.trials} & {loser, repeated, *before.runs}
    assert after.runs == (after.tuning.chosen_trial.run,)  # type: ignore[union-attr]
    hidden = trials_not_chosen(options.out)
    assert {loser, repeated} < hidden.keys()
    assert not hidden.keys() & {*before.runs, *after.runs}


@pytest.mark.slow
def test_run_suite_with_optuna_asks_for_one_trial_after_another(
    options: RunOptions, catalog: Catalog
) -> None:
    pytest.importorskip("optuna", reason="an extra")
    tune = msgspec.structs.replace(TUNE, trials=3, tuner="optuna:startup=1")
    planned = plan(options, catalog, tuned(rows=ROWS[:1], tune=tune))
    assert (len(planned.runs()), planned.runs_expected()) == (1, 3)
    results, observer = run(planned, options)
    assert observer.statuses() == ["running", "finished"] * 3
    tuning = trials_of(results, 0)
    assert tuning.adaptive
    assert len({str(trial.point) for trial in tuning.trials}) == 3
    _, observer = run(plan(options, catalog, tuned(rows=ROWS[:1], tune=tune)), options)
    assert observer.statuses() == ["stored"] * 3


@pytest.mark.parametrize(
    ("space", "for_all", "rows", "message"),
    [
        ({"train.lr": (1e-4, 1e-3)}, {"train.lr": 1e-5}, ROWS,
         "^the command line sets train.lr, but train.lr is tuned"),
        ({"freezing": ("all", "head-only")}, {}, ROWS, "^row 1 sets freezing"),
        ({"freezing.n": (1, 2)}, {}, (SuiteRow(label="a", changes={"method": "lora"}),),
         "^row a sets freezing, but freezing.n is tuned"),
        ({"train.lrr": (1, 2)}, {}, ROWS[:1], "row 1 .*unknown key 'lrr'"),
        ({"train.lr": (-1, 1)}, {}, ROWS[:1], "row 1: trial train.lr=-1: .*expected float > 0"),
        ({"data.split.seed": (1, 2)}, {}, ROWS[:1], "row 1: the trials .*have different texts"),
    ],
)  # fmt: skip
def test_plan_suite_with_a_tuning_that_does_not_fit_is_refused(
    space: dict[str, Any],
    for_all: dict[str, Any],
    rows: tuple[SuiteRow, ...],
    message: str,
    options: RunOptions,
    catalog: Catalog,
) -> None:
    spec = tuned(tune=TuneSpec(space=space, tuner="grid"), rows=rows)
    with pytest.raises(UsageError, match=message):
        plan(options, catalog, spec, **for_all)


def test_plan_suite_row_whose_trials_cannot_all_be_run_is_left_out(
    options: RunOptions, catalog: Catalog, tmp_path: Path
) -> None:
    """It would have fewer trials than the others."""
    rows = (ROWS[0], SuiteRow(label="none", changes={"data.padding": "none"}))
    tune = TuneSpec(space={"train.batch_size": (1, 8)}, tuner="grid")
    planned = plan(options, catalog, tuned(rows=rows, tune=tune))
    assert planned.rows[0].problem is None
    assert str(planned.rows[1].problem).startswith("trial train.batch_size=8: data.padding=none")
    assert not planned.rows[1].all_runs()
    assert not scan(tmp_path / "runs").runs
