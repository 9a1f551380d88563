"""Runs of planned suites: shared, stored, repeated, interrupted and failed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from metric_examples import CATALOG

from clsbench.analysis.suite_figures import suite_figures
from clsbench.components.catalog import Catalog
from clsbench.executors import Executor, Job, JobEnd, JobProgress, Scheduler, run_job
from clsbench.report.page.commands import suite_command
from clsbench.results.store import read_record
from clsbench.results.suite_results import SuiteResults, read_suite_results
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.plan import plan_suite
from clsbench.suites.run import run_suite
from clsbench.suites.run_locks import LOCKS
from suites import SMALL, SUITE, InProcess, RecordingObserver, plan, run


def test_run_suite_rows_of_one_experiment_share_a_stored_run(
    options: RunOptions, catalog: Catalog
) -> None:
    planned = plan(options, catalog)
    results, observer = run(planned, options)
    assert observer.statuses() == ["running", "finished"] * 2
    first, second, third = results.rows
    assert first.runs == third.runs != second.runs
    assert third.same_as == "1"
    assert not any(row.errors or row.waiting or row.stored for row in results.rows)
    assert read_suite_results(options.out, "small") == results
    keys = set(planned.runs())
    names = {name for row in results.rows for name in row.runs}
    assert {read_record(options.out / name).run_key for name in names} == keys
    phases = [m.phase for m in observer.messages[next(iter(keys))] if isinstance(m, JobProgress)]
    assert "training" in phases

    again, observer = run(plan(options, catalog), options)
    assert observer.statuses() == ["stored"] * 2
    assert [row.runs for row in again.rows] == [row.runs for row in results.rows]
    assert again.rows[0].stored == first.runs


class RunsAnotherExperiment(InProcess, frozen=True):
    """Runs another experiment than the requested one."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            spec = {**job.spec, "train": {**job.spec["train"], "lr": 1e-3}}
            if scheduler.claim(job):
                other = msgspec.structs.replace(job, spec=spec)
                scheduler.end(job, run_job(other, partial(scheduler.report, job)))


@pytest.mark.slow
def test_run_suite_run_of_another_experiment_fails_the_row(
    options: RunOptions, catalog: Catalog
) -> None:
    spec = SuiteSpec(name="small", base="gpt2-sms-spam", changes=SMALL, rows=SUITE.rows[:1])
    planned = plan(options, catalog, spec)
    results = run_suite(
        planned, RunsAnotherExperiment(), options, None, RecordingObserver(), [], False
    )
    (row,) = results.rows
    assert not row.runs
    assert "differs from the planned experiment" in row.errors[0]
    assert "-gpt2-sms-spam-" in row.errors[0], "where it is stored"


class Unreadable(InProcess, frozen=True):
    """Reports finished runs whose records cannot be read."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            if scheduler.claim(job):
                run = Path(job.options["out"]) / f"damaged-{job.key}"
                run.mkdir(parents=True)
                (run / "record.json").write_text("{")
                scheduler.end(job, JobEnd(status="finished", run=run.name))


def test_run_suite_with_a_damaged_result_fails_the_row(
    options: RunOptions, catalog: Catalog
) -> None:
    results = run_suite(
        plan(options, catalog), Unreadable(), options, None, RecordingObserver(), [], False
    )
    assert not any(row.runs for row in results.rows)
    assert all("damaged-" in row.errors[0] for row in results.rows)


@pytest.mark.slow
def test_run_suite_with_force_repeats_stored_runs(options: RunOptions, catalog: Catalog) -> None:
    first, _ = run(plan(options, catalog), options)
    forced, observer = run(plan(options, catalog), options, force=True)
    assert observer.statuses() == ["running", "finished"] * 2
    assert forced.rows[0].runs != first.rows[0].runs


class Stopped(Executor, frozen=True):
    """Is interrupted at once, or after claiming its first job if ``claims``."""

    claims: bool = True

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        if self.claims:
            assert scheduler.claim(jobs[0])
            scheduler.end(jobs[0], JobEnd(status="interrupted", error="interrupted"))
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("claims", [False, True])
def test_run_suite_with_force_interrupted_keeps_the_stored_runs(
    claims: bool, options: RunOptions, catalog: Catalog
) -> None:
    first, _ = run(plan(options, catalog), options)
    with pytest.raises(KeyboardInterrupt):
        run_suite(
            plan(options, catalog), Stopped(claims), options, None, RecordingObserver(), force=True
        )
    kept = read_suite_results(options.out, "small")
    assert [row.runs for row in kept.rows] == [row.runs for row in first.rows]
    assert [row.stored for row in kept.rows] == [row.runs for row in first.rows]
    assert not any(row.waiting for row in kept.rows)


@pytest.mark.slow
def test_run_suite_rows_run_separately_form_one_table(
    options: RunOptions, catalog: Catalog
) -> None:
    def done(
        *labels: str, where: RunOptions = options, force: bool = False, **for_all: Any
    ) -> SuiteResults:
        rows = [row for row in SUITE.rows if row.label in labels]
        planned = plan_suite(SUITE, rows, for_all, 1, where, catalog)
        command = ["clsbench", "suite", "small", "--offline"]
        run_suite(planned, InProcess(), where, None, RecordingObserver(), command, force)
        return read_suite_results(options.out, "small")

    assert [row.label for row in done("2").rows] == ["2"]
    both = done("3")
    assert [row.label for row in both.rows] == ["2", "3"]
    reported = suite_command(suite_figures(both, options.out, CATALOG))
    assert reported == "clsbench suite small --offline --rows 2,3"
    whole = done("1")
    assert [row.label for row in whole.rows] == ["1", "2", "3"]
    assert [row.same_as for row in whole.rows] == [None, None, "1"]
    figures = suite_figures(whole, options.out, CATALOG)
    assert suite_command(figures) == "clsbench suite small --offline"
    assert figures.comparison is not None
    assert {c.name for c in figures.comparison.contenders} >= {"row 1 = 3", "row 2"}
    again = done("3", force=True)
    assert again.rows[2].runs != whole.rows[2].runs
    assert again.rows[0].runs == again.rows[2].runs, "both rows use the repeated run"
    assert [row.same_as for row in again.rows] == [None, None, "1"]
    elsewhere = msgspec.structs.replace(options, precision="fp64")
    assert [row.label for row in done("1", where=elsewhere).rows] == ["1"], "another table"
    assert [row.label for row in done("2", **{"train.lr": 0.1}).rows] == ["2"]


@pytest.mark.slow
def test_run_suite_with_several_seeds_uses_one_split(options: RunOptions, catalog: Catalog) -> None:
    planned = plan(options, catalog, seeds=2)
    assert [run.spec["seed"] for run in planned.rows[0].runs] == [123, 124]
    results, _ = run(planned, options)
    figures = suite_figures(results, options.out, CATALOG)
    assert not figures.problems
    row = figures.rows[0]
    assert len(row.runs) == 2
    assert row.accuracy["test"].n == 2
    assert len({r.record.data.sha256 for r in row.runs if r.record.data is not None}) == 1
    assert figures.rows[1].against_first is not None
    assert figures.comparison is not None
    assert {c.name for c in figures.comparison.contenders} >= {"row 1 = 3", "row 2"}


@pytest.mark.slow
def test_run_suite_with_a_failing_row_finishes_the_others(
    options: RunOptions, catalog: Catalog
) -> None:
    rows = (
        SuiteRow(label="wild", changes={"train.lr": 1e30}),
        SuiteRow(label="long", changes={"data.padding": 5000}),
        SuiteRow(label="good", changes={"freezing": "head-only"}),
    )
    spec = SuiteSpec(name="small", base="gpt2-sms-spam", changes=SMALL, rows=rows)
    results, _ = run(plan(options, catalog, spec), options)
    wild, long, good = results.rows
    assert "loss" in wild.errors[0]
    assert "context of 128 tokens" in long.errors[0]
    assert not long.runs
    assert good.runs
    assert not good.errors
    # A failed run is not a result: it is run again next time.
    _, observer = run(plan(options, catalog, spec), options)
    assert sorted(observer.statuses()) == ["failed", "running", "stored"]


@pytest.mark.slow
def test_run_suite_waits_for_a_run_of_another_invocation(
    options: RunOptions, catalog: Catalog
) -> None:
    """Of two simultaneous invocations, one does each run and both have all results."""
    planned = plan(options, catalog)
    found: list[tuple[SuiteResults, RecordingObserver]] = []
    threads = [
        threading.Thread(target=lambda: found.append(run(planned, options))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for _, observer in found for status in observer.statuses()]
    assert statuses.count("finished") == 2
    assert statuses.count("stored") == 2
    (one, _), (other, _) = found
    assert [row.runs for row in one.rows] == [row.runs for row in other.rows]
    assert not any(row.waiting for results, _ in found for row in results.rows)
    assert not [f for f in (options.out / LOCKS).iterdir() if f.stat().st_size]


class FailsWhileAnotherWaits(Executor, frozen=True):
    """Ends a job as failed once another invocation has requested it."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        (job,) = jobs
        if scheduler.claim(job):
            assert ANOTHER_WAITS.wait(60)
            scheduler.end(job, JobEnd(status="failed", error="no luck"))
        else:
            ANOTHER_WAITS.set()


ANOTHER_WAITS = threading.Event()


@pytest.mark.slow
def test_run_suite_run_that_fails_elsewhere_is_not_retried(
    options: RunOptions, catalog: Catalog
) -> None:
    spec = SuiteSpec(name="small", base="gpt2-sms-spam", changes=SMALL, rows=SUITE.rows[:1])
    planned = plan(options, catalog, spec)
    observers = [RecordingObserver(), RecordingObserver()]
    ANOTHER_WAITS.clear()
    found: list[SuiteResults] = []
    threads = [
        threading.Thread(
            target=lambda w=each: found.append(
                run_suite(planned, FailsWhileAnotherWaits(), options, None, w)
            )
        )
        for each in observers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results.rows[0].errors for results in found] == [("no luck",)] * 2
    statuses = sorted(each.statuses() for each in observers)
    assert statuses == [["elsewhere", "failed"], ["running", "failed"]]
    # The next invocation repeats the run.
    _, again = run(planned, options)
    assert again.statuses() == ["running", "finished"]


@pytest.mark.slow
def test_run_suite_interrupted_stores_results_and_resumes(
    options: RunOptions, catalog: Catalog
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog), Stopped(), options, None, RecordingObserver())
    results = read_suite_results(options.out, "small")
    assert not any(row.errors for row in results.rows), "an interrupt is not an error"
    assert [row.waiting for row in results.rows] == [1, 1, 1]
    _, observer = run(plan(options, catalog), options)
    assert observer.statuses() == ["running", "finished"] * 2
    # The first run is deleted; the results of the other rows are kept.
    finished = read_suite_results(options.out, "small")
    shutil.rmtree(options.out / finished.rows[0].runs[0])
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog), Stopped(), options, None, RecordingObserver())
    results = read_suite_results(options.out, "small")
    assert [row.runs for row in results.rows] == [(), finished.rows[1].runs, ()]
    assert [row.waiting for row in results.rows] == [1, 0, 1]
