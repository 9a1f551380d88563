from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_examples import STAND_INS, make_metrics, make_record, make_spec

from clsbench.analysis.results_table import default_columns, load_results, results_table
from clsbench.errors import UsageError
from clsbench.results.formats import column_widths, marked
from clsbench.results.store import StoredRun, run_directory, run_name, write_record
from clsbench.schema.record import BaselineResult


def runs(*records: object) -> list[StoredRun]:
    return [StoredRun(Path(f"/store/run-{i}"), r) for i, r in enumerate(records)]  # type: ignore[arg-type]


def test_results_table_row_agrees_with_the_record() -> None:
    record = make_record(stand_ins=STAND_INS, modified=True)
    row = results_table(runs(record)).iloc[0]
    assert record.metrics is not None
    test = record.metrics.test
    assert test.without_leaked is not None
    expected = {
        "run": "run-0",
        "path": "/store/run-0",
        "status": "finished",
        "experiment": "gpt2-sms-spam",
        "modified": True,
        "stand_ins": "synthetic-sms, gpt2-nano",
        "backbone": "gpt2:size=small,weights=pretrained,causal=true",
        "freezing": "last-blocks:n=1",
        "adapter": "none",
        "seed": 123,
        "split": "book",
        "padding": "longest-train",
        "balance": True,
        "lr": 5e-5,
        "optimizer": "adamw:beta1=0.9,beta2=0.999,eps=1e-08",
        "schedule": "constant:warmup=0.0",
        "loss_function": "cross-entropy:class_weights=none,label_smoothing=0.0",
        "layer_decay": 1.0,
        "gradient_clipping": 0.0,
        "select": "last",
        "patience": 0,
        "device": "cpu",
        "precision": "fp32",
        "test_accuracy": test.accuracy,
        "test_accuracy_low": test.interval[0],
        "test_accuracy_high": test.interval[1],
        "test_loss": test.loss,
        "test_macro_f1": test.macro_f1,
        "test_n": 300,
        "test_accuracy_without_leaked": test.without_leaked.accuracy,
        "train_n": 1045,
        "validation_accuracy": record.metrics.validation.accuracy,
        "baseline_majority": record.baselines[0].metrics.test.accuracy,
        "baseline_tfidf_logreg": record.baselines[1].metrics.test.accuracy,
        "trainable_parameters": 7_090_946,
        "total_parameters": 124_441_346,
        "training_seconds": 167.8,
        "total_seconds": pytest.approx(193.9),
        "examples_per_second": 31.2,
        "leaked_test": 37,
        "created": record.created,
        "fingerprint": record.fingerprint,
        "run_key": record.run_key,
    }
    assert {name: row[name] for name in expected} == expected
    assert "train_accuracy_without_leaked" not in row


def test_results_table_values_of_a_failed_run_are_missing() -> None:
    failed = make_record(
        status="failed",
        metrics=None,
        parameters=None,
        throughput=None,
        data=None,
        baselines=(),
        peak_memory_bytes=None,
        error="the loss is nan",
    )
    table = results_table(runs(failed, make_record()))
    row = table.iloc[0]
    for name in ("test_accuracy", "test_n", "train_loss", "total_parameters", "leaked_test"):
        assert pd.isna(row[name]), name
        assert not pd.isna(table.iloc[1][name]), name
    assert row["error"] == "the loss is nan"
    assert table["test_n"].dtype == "Int64"
    assert table["trainable_parameters"].tolist()[1] == 7_090_946


def test_results_table_without_runs_has_columns_and_types() -> None:
    empty, full = results_table([]), results_table(runs(make_record()))
    assert list(empty.columns) == [c for c in full.columns if not c.startswith("baseline_")]
    for name in empty.columns:
        assert empty[name].dtype == full[name].dtype, name
    assert len(empty) == 0


def test_results_table_columns_are_identifiers() -> None:
    record = make_record(phases_seconds={"my-phase 1": 2.0, "training": 1.0})
    table = results_table(runs(record))
    assert all(name.isidentifier() for name in table.columns)
    assert table["my_phase_1_seconds"].tolist() == [2.0]
    assert table.columns.is_unique


def test_results_table_baselines_of_one_name_have_different_columns() -> None:
    def result(component: str, accuracy: float) -> BaselineResult:
        metrics = make_metrics(accuracy, seed=9, with_loss=False)
        return BaselineResult(component=component, metrics=metrics, seconds=1.0)

    first, second = result("tfidf:n=1", 0.9), result("tfidf:n=2", 0.8)
    table = results_table(runs(make_record(baselines=(first, second))))
    assert table["baseline_tfidf"].tolist() == [first.metrics.test.accuracy]
    assert table["baseline_tfidf_n_2"].tolist() == [second.metrics.test.accuracy]


def test_results_table_unusual_spec_is_read() -> None:
    spec = {**make_spec(), "data": "odd", "adapter": "lora:r=16", "freezing": {"name": "all"}}
    del spec["train"]
    row = results_table(runs(make_record(spec=spec))).iloc[0]
    assert (row["split"], row["adapter"], row["freezing"]) == ("", "lora:r=16", "all")
    assert pd.isna(row["epochs"])


# --- load_results ---------------------------------------------------------------------------------


def fill(store: Path) -> None:
    for seed in (1, 2):
        record = make_record(seed=seed, created=f"2025-11-2{seed}T00:00:00+00:00")
        with run_directory(store, run_name(record)) as directory:
            write_record(directory, record)


def test_load_results_reads_the_given_store_or_that_of_the_environment_or_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSBENCH_RUNS", raising=False)
    assert len(load_results()) == 0
    fill(tmp_path / "runs")
    assert load_results()["seed"].tolist() == [1, 2]
    (tmp_path / "empty").mkdir()
    assert len(load_results("empty")) == 0
    monkeypatch.setenv("CLSBENCH_RUNS", str(tmp_path / "empty"))
    assert len(load_results()) == 0
    assert len(load_results(tmp_path / "runs")) == 2
    with pytest.raises(UsageError, match=r"the folder of runs .*gone does not exist"):
        load_results(tmp_path / "gone")
    monkeypatch.setenv("CLSBENCH_RUNS", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"the folder of runs .*gone does not exist"):
        load_results()


def test_load_results_damaged_runs_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    broken = tmp_path / "20251123T000000Z-broken"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert len(load_results(tmp_path)) == 2
    assert [(r.levelname, str(broken) in r.getMessage()) for r in caplog.records] == [
        ("WARNING", True)
    ]


def test_load_results_does_not_import_torch(tmp_path: Path) -> None:
    fill(tmp_path)
    script = (
        "import sys\nfrom clsbench.analysis.results_table import load_results\n"
        f"assert len(load_results({str(tmp_path)!r})) == 2\n"
        "import clsbench.report.terminal.run, clsbench.results.curves, clsbench.analysis.seeds\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_results_table_columns_do_not_depend_on_the_order_of_runs() -> None:
    a, b = make_record(seed=1), make_record(seed=2, phases_seconds={"other": 1.0})
    forth, back = results_table(runs(a, b)), results_table(runs(b, a))
    assert set(forth.columns) == set(back.columns)


# --- default columns ------------------------------------------------------------------------------


def freezing_table(*freezings: str, stand_ins: bool = False, **changes: object) -> pd.DataFrame:
    records = [
        make_record(
            spec=make_spec(7, {"name": name}),
            stand_ins=STAND_INS if stand_ins else (),
            **changes,
        )
        for name in freezings
    ]
    name = "20251121T101729Z-gpt2-sms-spam-{:08d}"
    return results_table(StoredRun(Path(name.format(i)), r) for i, r in enumerate(records))


ACCURACIES = ["test_accuracy", "test_accuracy_low", "test_accuracy_high"]


def test_default_columns_distinguish_the_runs() -> None:
    table = freezing_table("all", "head-only")
    costs = ["trainable_parameters", "total_seconds"]
    everything = ["run", "freezing", *ACCURACIES, "baseline_tfidf_logreg", *costs]
    assert default_columns(table) == default_columns(table, 120) == everything
    assert default_columns(table, 80) == ["run", "freezing", *ACCURACIES]
    assert default_columns(table, 40) == everything  # too narrow for a table: a line each


@pytest.mark.parametrize("width", [80, 100])
def test_default_columns_with_stand_ins_and_failures_include_them(width: int) -> None:
    table = freezing_table("head-only", "last-blocks-and-more", stand_ins=True, status="failed")
    chosen = default_columns(table, width)
    assert chosen[:4] == ["run", "status", "stand_ins", "freezing"]
    assert column_widths(marked(table[chosen]), width) is not None
    assert "seed" not in chosen


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["all", "head-only", "x" * 60]), max_size=4),
    st.booleans(),
    st.integers(80, 200),
)
def test_default_columns_fit_into_the_width(names: list[str], stand_ins: bool, width: int) -> None:
    table = freezing_table(*names, stand_ins=stand_ins)
    assert column_widths(marked(table[default_columns(table, width)]), width) is not None
