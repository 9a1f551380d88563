"""Plans of suites: rows are resolved, invalid rows refused, stored runs recognized."""

from __future__ import annotations

import io
import re
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clsbench.builtin.suites import GPT2_SMS_SPAM_ABLATION
from clsbench.components.catalog import Catalog
from clsbench.errors import UsageError
from clsbench.experiment import sharing
from clsbench.model.classifier import Classifier
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.suite import print_suite_plan
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import SuiteRow
from clsbench.schema.tuning import TuneSpec
from clsbench.suites import estimation
from clsbench.suites import plan as suites
from clsbench.suites.plan import plan_suite
from clsbench.suites.planned import SuitePlan
from suites import SMALL, SUITE, plan, run


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


def test_expand_methods_method_with_its_parts_is_refused(
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
def test_plan_suite_with_an_invalid_row_is_refused(
    changes: dict[str, Any],
    for_all: dict[str, Any],
    said: str,
    options: RunOptions,
    catalog: Catalog,
) -> None:
    spec = msgspec.structs.replace(SUITE, rows=(SuiteRow(label="1", changes=changes),))
    with pytest.raises(UsageError, match=f"^mine.toml: {said}"):
        plan_suite(spec, spec.rows, for_all, 1, options, catalog, file="mine.toml: ")


def test_plan_suite_row_that_does_not_fit_the_backbone_is_marked_invalid(
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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.train_size": 1000}, "data.train_size = 1,000 is larger than the training split of"),
        ({"data.train_size": 2}, "data.train_size = 2 is smaller than the number of classes"),
        ({"data.train_size": 4}, "train.batch_size = 8 is larger than the training split of 4"),
        ({"data.split": "group"}, "{file}: data.split=group requires .*the corpus has 1: 'one'"),
        ({"data.split": "predefined"}, "{file}: .*this corpus comes without predefined splits"),
        ({"data.split": "time"}, "the metric roc-auc is undefined: all texts have the same class"),
        ({"dataset.label": "none"}, "{file}, line 1: column 'none' not found"),
    ],
)
def test_plan_suite_row_that_its_data_do_not_allow_is_refused_with_its_label(
    changes: dict[str, Any], said: str, options: RunOptions, catalog: Catalog, tmp_path: Path
) -> None:
    """The other rows are not run either, and every such row is named."""
    file = tmp_path / "texts.csv"
    lines = [f"{'fruit'[: n % 3 + 3]} {n},{'abc'[n // 20]},one,{n}" for n in range(60)]
    file.write_text("\n".join(["text,label,user,day", *lines]))
    spec = msgspec.structs.replace(
        SUITE,
        changes={**SMALL, "dataset": f"csv:path={file},group=user,time=day", "metric": "roc-auc"},
        rows=(
            SuiteRow(label="1", changes={"data.split": "stratified"}),
            SuiteRow(label="2", changes={"data.split": "stratified", **changes}),
            SuiteRow(label="3", changes={"data.split": "stratified", "data.train_size": 100}),
        ),
    )
    with pytest.raises(UsageError) as refused:
        plan(options, catalog, spec)
    first, second = str(refused.value).split("; row 3: ")
    assert re.match(f"row 2: .*{said.format(file=re.escape(str(file)))}", first)
    assert "data.train_size = 100 is larger" in second
    assert second.endswith("No row was run; correct this, or select other rows with --rows")


def test_plan_suite_row_with_a_trial_that_the_data_do_not_allow_is_refused(
    options: RunOptions, catalog: Catalog
) -> None:
    tune = TuneSpec(space={"train.batch_size": (8, 500)}, tuner="grid")
    spec = msgspec.structs.replace(SUITE, tune=tune, rows=SUITE.rows[:2])
    said = "no row of the suite is valid: train.batch_size = 500 is larger than the training split"
    with pytest.raises(UsageError, match=f"^{said}"):
        plan(options, catalog, spec)


def test_plan_suite_without_an_estimate_keeps_the_row(
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


def test_plan_suite_requests_a_missing_asset_once(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one data set share one attempt to reach a host that does not answer."""
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
def test_plan_suite_with_equal_texts_of_two_data_sets_is_refused(
    options: RunOptions, catalog: Catalog
) -> None:
    rows = (
        SuiteRow(label="1", changes={"freezing": "head-only", "dataset.texts": 300}),
        SuiteRow(
            label="2", changes={"freezing": "head-only", "dataset": "synthetic-sms:texts=300"}
        ),
    )
    said = r"rows 1 and 2 have the same texts in all splits \(dataset.*=300; dataset=synth.*=300\)"
    with pytest.raises(UsageError, match=said):
        plan(options, catalog, msgspec.structs.replace(SUITE, rows=rows))


@pytest.mark.slow
def test_plan_suite_with_changes_for_all_rows_marks_them_modified(
    options: RunOptions, catalog: Catalog
) -> None:
    assert not any(row.modified for row in plan(options, catalog).rows)
    changed = plan(options, catalog, **{"train.epochs": 2})
    assert all(row.modified for row in changed.rows)
    assert changed.rows[0].runs[0].spec["train"]["epochs"] == 2
    with pytest.raises(UsageError, match="epoch"):
        plan(options, catalog, **{"train.epoch": 2})


@pytest.mark.slow
def test_plan_suite_ablation_offline_names_rows_that_do_not_apply(
    options: RunOptions, catalog: Catalog
) -> None:
    """Rows that the stand-ins do not support are marked with a reason."""
    planned = plan(options, catalog, GPT2_SMS_SPAM_ABLATION)
    rows = {row.row.label: row for row in planned.rows}
    assert len(rows) == 19
    assert not [row.problem for row in rows.values() if row.problem]
    without = {label for label, row in rows.items() if row.not_applicable is not None}
    assert without == {"6", "7", "8", "9", "12", "13"}
    assert "no size" in str(rows["6"].not_applicable)
    assert "128 tokens, not 1,024" in str(rows["13"].not_applicable)
    assert all(row.modified for label, row in rows.items() if label not in without)
    specs = {label: row.runs[0].spec for label, row in rows.items() if row.runs}
    assert specs["10"]["backbone"]["weights"] == "random"
    assert specs["15"]["train"] == {**specs["14"]["train"], "accumulation": 8}
    assert specs["18"]["train"]["ignore_index"] == 50256
    assert {spec["data"]["split"]["name"] for spec in specs.values()} == {"book-ablation"}


@pytest.mark.slow
def test_plan_suite_with_random_weights_rows_5_and_10_share_a_run(
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


@pytest.mark.slow
def test_plan_suite_with_stored_rows_does_not_plan_them_again(
    options: RunOptions, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(options, catalog)
    run(before, options)
    planned: list[object] = []
    real = sharing.plan_run

    def counted(*arguments: Any) -> Any:
        planned.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(sharing, "plan_run", counted)
    again = plan(options, catalog)
    assert not planned
    assert again.runs().keys() == before.runs().keys()
    for row, other in zip(again.rows, before.rows, strict=True):
        assert row.estimate is None
        assert row.runs[0].record.parameters == other.runs[0].record.parameters
    assert len(plan(options, catalog, seeds=2).rows) == 3
    assert len(planned) == 2, "one seed is new; rows of one experiment are planned once"
    forced = plan_suite(SUITE, SUITE.rows, {}, 1, options, catalog, force=True)
    assert len(planned) == 4
    assert all(row.estimate is not None for row in forced.rows)

    def printed(force: bool, plan: SuitePlan = forced) -> str:
        console = Console(file=io.StringIO(), width=200)
        print_suite_plan(console, plan, set(forced.runs()), force=force)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    assert "nothing is left to run" in printed(force=False)
    assert "2 runs to do" in printed(force=True)
    broken = forced._replace(rows=tuple(row._replace(runs=(), problem="no") for row in forced.rows))
    assert "nothing is left to run" not in printed(force=False, plan=broken)
