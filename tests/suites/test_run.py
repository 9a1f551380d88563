"""A suite from rows to records: planned, run once, found again, shared."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clsbench import Executor
from clsbench.analysis.suite_figures import suite_figures
from clsbench.builtin.suites import GPT2_SMS_SPAM_ABLATION
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.errors import UsageError
from clsbench.executors import Job, JobEnd, JobProgress, Message, Scheduler, run_job
from clsbench.model.classifier import Classifier
from clsbench.report.page.commands import suite_command
from clsbench.results.store import read_record
from clsbench.results.suite_results import SuiteResults, read_suite_results
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites import estimation
from clsbench.suites import run as suites
from clsbench.suites.run import SuitePlan, plan_suite, run_suite
from clsbench.suites.run_locks import LOCKS, RunState

SMALL: dict[str, Any] = {
    "dataset": "synthetic-sms:texts=300",
    "backbone": "gpt2-nano:weights=random",
    "data.padding": 16,
    "data.balance": False,
    "train.epochs": 1,
    "train.eval_batches": 1,
}
SUITE = SuiteSpec(
    name="small",
    base="gpt2-sms-spam",
    changes=SMALL,
    rows=(
        SuiteRow(label="1", title="the head", changes={"freezing": "head-only"}),
        SuiteRow(label="2", title="last block"),
        SuiteRow(label="3", title="the head again", changes={"freezing": "head-only"}),
    ),
)


class Here(Executor, frozen=True):
    """Runs every job in this process."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            if scheduler.claim(job):
                scheduler.end(job, run_job(job, partial(scheduler.report, job)))


class Watching:
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.said_by: dict[str, list[Message]] = {}

    def changed(self, key: str, state: RunState) -> None:
        self.seen.append((key, state.status))

    def received(self, key: str, message: Message) -> None:
        self.said_by.setdefault(key, []).append(message)

    def statuses(self) -> list[str]:
        return [status for _, status in self.seen]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(out=tmp_path / "runs", device="cpu", threads=1, offline=True)


def plan(
    options: RunOptions,
    catalog: Catalog,
    spec: SuiteSpec = SUITE,
    seeds: Sequence[int] | int = 1,
    **for_all: Any,
) -> SuitePlan:
    return plan_suite(spec, spec.rows, for_all, seeds, options, catalog)


def run(
    planned: SuitePlan, options: RunOptions, force: bool = False
) -> tuple[SuiteResults, Watching]:
    watching = Watching()
    return run_suite(planned, Here(), options, None, watching, ["again"], force), watching


def test_rows_share_a_run_and_it_is_not_run_again(options: RunOptions, catalog: Catalog) -> None:
    planned = plan(options, catalog)
    results, watching = run(planned, options)
    assert watching.statuses() == ["running", "finished"] * 2
    first, second, third = results.rows
    assert first.runs == third.runs != second.runs
    assert third.same_as == "1"
    assert not any(row.errors or row.waiting or row.stored for row in results.rows)
    assert read_suite_results(options.out, "small") == results
    keys = set(planned.runs())
    names = {name for row in results.rows for name in row.runs}
    assert {read_record(options.out / name).run_key for name in names} == keys
    phases = [m.phase for m in watching.said_by[next(iter(keys))] if isinstance(m, JobProgress)]
    assert "training" in phases

    again, watching = run(plan(options, catalog), options)
    assert watching.statuses() == ["stored"] * 2
    assert [row.runs for row in again.rows] == [row.runs for row in results.rows]
    assert again.rows[0].stored == first.runs


def test_expand_methods_replaces_methods_and_rows_take_precedence(
    options: RunOptions, catalog: Catalog
) -> None:
    rows = (
        SuiteRow(label="1", changes={"method": "lora"}),
        SuiteRow(label="2", changes={"freezing": "head-only", "adapter": "lora"}),
        SuiteRow(label="3"),
    )
    planned = plan(options, catalog, msgspec.structs.replace(SUITE, rows=rows), method="last-block")
    parts = [
        [row.changes.get(key) for key in ("method", "freezing", "adapter")] for row in planned.rows
    ]
    assert parts[:2] == [[None, "head-only", "lora"]] * 2
    assert parts[2] == [None, "last-blocks:n=1", "none"]
    keys = [[run.key for run in row.runs] for row in planned.rows]
    assert keys[0] == keys[1] != keys[2]
    assert planned.for_all == {"freezing": "last-blocks:n=1", "adapter": "none"}


def test_expand_methods_method_beside_its_parts_is_refused_naming_the_row(
    options: RunOptions, catalog: Catalog
) -> None:
    rows = (SuiteRow(label="bad", changes={"method": "lora", "freezing": "all"}),)
    with pytest.raises(
        UsageError, match="row bad: freezing cannot be combined with method = 'lora'"
    ):
        plan(options, catalog, msgspec.structs.replace(SUITE, rows=rows))


@pytest.mark.parametrize(
    ("changes", "for_all", "said"),
    [
        ({"poling": "mean"}, {}, "row 1 .*unknown key 'poling'; did you mean 'pooling'"),
        ({"train.lr": -1}, {}, r"row 1 .*train.lr = -1: expected float > 0"),
        ({"backbone.size": "tiny"}, {"train.epochs": 1}, "row 1 .*unknown key 'size'"),
        (
            {"freezing": "last-blocks:n=50"},
            {"train.epochs": 1},
            "no row of the suite is valid; row 1: freezing strategy 'last-blocks': n=50",
        ),
    ],
)
def test_plan_suite_with_a_mistake_in_a_row_refuses_the_suite(
    changes: dict[str, Any],
    for_all: dict[str, Any],
    said: str,
    options: RunOptions,
    catalog: Catalog,
) -> None:
    spec = msgspec.structs.replace(SUITE, rows=(SuiteRow(label="1", changes=changes),))
    with pytest.raises(UsageError, match=f"^mine.toml: {said}"):
        plan_suite(spec, spec.rows, for_all, 1, options, catalog, file="mine.toml: ")


def test_plan_suite_where_the_users_backbone_lacks_a_rows_option_keeps_the_other_rows(
    options: RunOptions, catalog: Catalog
) -> None:
    rows = (
        SuiteRow(label="1", changes={"pooling": "mean"}),
        SuiteRow(label="2", changes={"backbone.size": "small"}),
    )
    changes = {key: value for key, value in SMALL.items() if key != "backbone"}
    spec = msgspec.structs.replace(SUITE, changes=changes, rows=rows)
    planned = plan(options, catalog, spec, backbone="gpt2-nano:weights=random")
    assert [row.invalid for row in planned.rows] == [False, True]
    assert "unknown key 'size'" in str(planned.rows[1].problem)


class Elsewhere(Here, frozen=True):
    """Another version of things: what it runs is not what it was asked for."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            spec = {**job.spec, "train": {**job.spec["train"], "lr": 1e-3}}
            if scheduler.claim(job):
                other = msgspec.structs.replace(job, spec=spec)
                scheduler.end(job, run_job(other, partial(scheduler.report, job)))


def test_what_was_run_otherwise_is_no_result_of_the_row(
    options: RunOptions, catalog: Catalog
) -> None:
    spec = SuiteSpec(name="small", base="gpt2-sms-spam", changes=SMALL, rows=SUITE.rows[:1])
    planned = plan(options, catalog, spec)
    results = run_suite(planned, Elsewhere(), options, None, Watching(), [], False)
    (row,) = results.rows
    assert not row.runs
    assert "differs from the planned experiment" in row.errors[0]
    assert "-gpt2-sms-spam-" in row.errors[0], "where it is stored"


class Unreadable(Here, frozen=True):
    """What it says has finished cannot be read."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        for job in jobs:
            if scheduler.claim(job):
                run = Path(job.options["out"]) / f"damaged-{job.key}"
                run.mkdir(parents=True)
                (run / "record.json").write_text("{")
                scheduler.end(job, JobEnd(status="finished", run=run.name))


def test_a_damaged_result_fails_its_row_and_the_others_go_on(
    options: RunOptions, catalog: Catalog
) -> None:
    results = run_suite(plan(options, catalog), Unreadable(), options, None, Watching(), [], False)
    assert not any(row.runs for row in results.rows)
    assert all("damaged-" in row.errors[0] for row in results.rows)


@pytest.mark.slow
def test_force_runs_what_is_stored_again(options: RunOptions, catalog: Catalog) -> None:
    first, _ = run(plan(options, catalog), options)
    forced, watching = run(plan(options, catalog), options, force=True)
    assert watching.statuses() == ["running", "finished"] * 2
    assert forced.rows[0].runs != first.rows[0].runs


class Stopped(Executor, frozen=True):
    """Does nothing, and ends at once or, where ``claims``, with its first job, as Ctrl-C does."""

    claims: bool = True

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        if self.claims:
            assert scheduler.claim(jobs[0])
            scheduler.end(jobs[0], JobEnd(status="interrupted", error="interrupted"))
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("claims", [False, True])
def test_what_is_to_be_done_again_stands_until_it_is(
    claims: bool, options: RunOptions, catalog: Catalog
) -> None:
    first, _ = run(plan(options, catalog), options)
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog), Stopped(claims), options, None, Watching(), force=True)
    kept = read_suite_results(options.out, "small")
    assert [row.runs for row in kept.rows] == [row.runs for row in first.rows]
    assert [row.stored for row in kept.rows] == [row.runs for row in first.rows]
    assert not any(row.waiting for row in kept.rows)


@pytest.mark.slow
def test_rows_run_one_after_the_other_are_one_table(options: RunOptions, catalog: Catalog) -> None:
    def done(
        *labels: str, where: RunOptions = options, force: bool = False, **for_all: Any
    ) -> SuiteResults:
        rows = [row for row in SUITE.rows if row.label in labels]
        planned = plan_suite(SUITE, rows, for_all, 1, where, catalog)
        command = ["clsbench", "suite", "small", "--offline"]
        run_suite(planned, Here(), where, None, Watching(), command, force)
        return read_suite_results(options.out, "small")

    assert [row.label for row in done("2").rows] == ["2"]
    both = done("3")
    assert [row.label for row in both.rows] == ["2", "3"]
    reported = suite_command(suite_figures(both, options.out))
    assert reported == "clsbench suite small --offline --rows 2,3"
    whole = done("1")
    assert [row.label for row in whole.rows] == ["1", "2", "3"]
    assert [row.same_as for row in whole.rows] == [None, None, "1"]
    figures = suite_figures(whole, options.out)
    assert suite_command(figures) == "clsbench suite small --offline"
    assert figures.comparison is not None
    assert {c.name for c in figures.comparison.contenders} >= {"row 1 = 3", "row 2"}
    again = done("3", force=True)
    assert again.rows[2].runs != whole.rows[2].runs
    assert again.rows[0].runs == again.rows[2].runs, "what they share was done again for both"
    assert [row.same_as for row in again.rows] == [None, None, "1"]
    elsewhere = msgspec.structs.replace(options, precision="fp64")
    assert [row.label for row in done("1", where=elsewhere).rows] == ["1"], "another table"
    assert [row.label for row in done("2", **{"train.lr": 0.1}).rows] == ["2"]


@pytest.mark.slow
def test_seeds_are_runs_of_their_own_on_one_split(options: RunOptions, catalog: Catalog) -> None:
    planned = plan(options, catalog, seeds=2)
    assert [run.spec["seed"] for run in planned.rows[0].runs] == [123, 124]
    results, _ = run(planned, options)
    figures = suite_figures(results, options.out)
    assert not figures.problems
    row = figures.rows[0]
    assert len(row.runs) == 2
    assert row.accuracy["test"].n == 2
    assert len({r.record.data.sha256 for r in row.runs if r.record.data is not None}) == 1
    assert figures.rows[1].against_first is not None
    assert figures.comparison is not None
    assert {c.name for c in figures.comparison.contenders} >= {"row 1 = 3", "row 2"}


@pytest.mark.slow
def test_a_row_that_fails_leaves_the_others_alone(options: RunOptions, catalog: Catalog) -> None:
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
    _, watching = run(plan(options, catalog, spec), options)
    assert sorted(watching.statuses()) == ["failed", "running", "stored"]


@pytest.mark.slow
def test_a_run_of_another_invocation_is_waited_for(options: RunOptions, catalog: Catalog) -> None:
    """Two invocations at once: every run is done by one of them, and both know all."""
    planned = plan(options, catalog)
    found: list[tuple[SuiteResults, Watching]] = []
    threads = [
        threading.Thread(target=lambda: found.append(run(planned, options))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for _, watching in found for status in watching.statuses()]
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


def test_what_fails_while_another_waits_is_not_tried_again(
    options: RunOptions, catalog: Catalog
) -> None:
    spec = SuiteSpec(name="small", base="gpt2-sms-spam", changes=SMALL, rows=SUITE.rows[:1])
    planned = plan(options, catalog, spec)
    watching = [Watching(), Watching()]
    ANOTHER_WAITS.clear()
    found: list[SuiteResults] = []
    threads = [
        threading.Thread(
            target=lambda w=each: found.append(
                run_suite(planned, FailsWhileAnotherWaits(), options, None, w)
            )
        )
        for each in watching
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results.rows[0].errors for results in found] == [("no luck",)] * 2
    statuses = sorted(each.statuses() for each in watching)
    assert statuses == [["elsewhere", "failed"], ["running", "failed"]]
    # The next invocation begins anew.
    _, again = run(planned, options)
    assert again.statuses() == ["running", "finished"]


def test_a_row_whose_time_cannot_be_told_runs_all_the_same(
    options: RunOptions, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Classifier, *arguments: object) -> None:
        raise RuntimeError("this has no shape on the meta device")

    with monkeypatch.context() as patch:
        patch.setattr(estimation, "outline_experiment", broken)
        planned = plan(options, catalog)
    assert [row.problem for row in planned.rows] == [None] * 3
    assert [row.estimate for row in planned.rows] == [None] * 3
    assert all(row.runs for row in planned.rows)


def test_what_cannot_be_had_is_asked_for_once(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one data set do not wait one after another for a host that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.close()
        options = RunOptions(out=tmp_path / "runs", device="cpu", threads=1)
        asked: list[object] = []
        real = suites.prepare_files

        def counted(*arguments: Any, **named: Any) -> Any:
            asked.append(arguments)
            return real(*arguments, **named)

        monkeypatch.setattr(suites, "prepare_files", counted)
        rows = GPT2_SMS_SPAM_ABLATION.chosen("1-3")
        planned = plan_suite(GPT2_SMS_SPAM_ABLATION, rows, {}, 1, options, catalog)
    assert len(asked) == 1
    folder = tmp_path / "assets" / "sms-spam"
    folder.mkdir(parents=True)
    (folder / "SMSSpamCollection").write_text("something else")
    damaged = msgspec.structs.replace(options, assets=folder.parent)
    wrong = plan_suite(GPT2_SMS_SPAM_ABLATION, rows, {}, 1, damaged, catalog)
    assert all("SMSSpamCollection" in str(row.problem) for row in wrong.rows)
    problems = {row.problem for row in planned.rows}
    assert len(problems) == 1
    assert "sms-spam" in str(problems.pop())


@pytest.mark.slow
def test_what_is_changed_for_all_is_marked(options: RunOptions, catalog: Catalog) -> None:
    assert not any(row.modified for row in plan(options, catalog).rows)
    changed = plan(options, catalog, **{"train.epochs": 2})
    assert all(row.modified for row in changed.rows)
    assert changed.rows[0].runs[0].spec["train"]["epochs"] == 2
    with pytest.raises(UsageError, match="epoch"):
        plan(options, catalog, **{"train.epoch": 2})


@pytest.mark.slow
def test_an_interrupted_run_is_stored_and_the_executor_stops(
    options: RunOptions, catalog: Catalog
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog), Stopped(), options, None, Watching())
    results = read_suite_results(options.out, "small")
    assert not any(row.errors for row in results.rows), "it did not fail"
    assert [row.waiting for row in results.rows] == [1, 1, 1]
    _, watching = run(plan(options, catalog), options)
    assert watching.statuses() == ["running", "finished"] * 2
    # The first is lost: the results of the others are shown, whatever ends the suite.
    finished = read_suite_results(options.out, "small")
    shutil.rmtree(options.out / finished.rows[0].runs[0])
    with pytest.raises(KeyboardInterrupt):
        run_suite(plan(options, catalog), Stopped(), options, None, Watching())
    results = read_suite_results(options.out, "small")
    assert [row.runs for row in results.rows] == [(), finished.rows[1].runs, ()]
    assert [row.waiting for row in results.rows] == [1, 0, 1]


@pytest.mark.slow
def test_the_ablation_is_planned_on_stand_ins(options: RunOptions, catalog: Catalog) -> None:
    """Every row is plain changes; those that the stand-ins cannot show say so."""
    planned = plan(options, catalog, GPT2_SMS_SPAM_ABLATION)
    rows = {row.row.label: row for row in planned.rows}
    assert len(rows) == 19
    assert not [row.problem for row in rows.values() if row.problem]
    without = {label for label, row in rows.items() if row.not_applicable is not None}
    assert without == {"6", "7", "8", "9", "12", "13"}
    assert "no size" in str(rows["6"].not_applicable)
    assert "1,024 tokens" in str(rows["13"].not_applicable)
    assert all(row.modified for label, row in rows.items() if label not in without)
    specs = {label: row.runs[0].spec for label, row in rows.items() if row.runs}
    assert specs["10"]["backbone"]["weights"] == "random"
    assert specs["15"]["train"] == {**specs["14"]["train"], "accumulation": 8}
    assert specs["18"]["train"]["ignore_index"] == 50256
    assert {spec["data"]["split"]["name"] for spec in specs.values()} == {"book-ablation"}


@pytest.mark.slow
def test_with_random_weights_row_5_is_row_10(
    options: RunOptions, catalog: Catalog, assets_dir: Path
) -> None:
    there = RunOptions(out=options.out, device="cpu", threads=1, assets=assets_dir)
    rows = GPT2_SMS_SPAM_ABLATION.chosen("5,10")
    for_all = {"backbone": "gpt2:weights=random"}
    planned = plan_suite(GPT2_SMS_SPAM_ABLATION, rows, for_all, 1, there, catalog)
    five, ten = planned.rows
    assert five.runs[0].key == ten.runs[0].key
    assert (five.modified, ten.modified) == (True, False)
    parameters = ten.runs[0].record.parameters
    assert parameters is not None
    assert parameters.trainable == 124_441_346
