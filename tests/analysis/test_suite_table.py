"""The rows of a suite as a table of values, and other results that reports read from runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from metric_examples import CATALOG, SHOWN
from record_examples import make_spec
from report_examples import TEXTS, Row, make_figures

from clsbench.analysis.comparison import compare_runs, training_cost
from clsbench.analysis.mistakes import mistakes
from clsbench.analysis.run_rows import rows_of_runs
from clsbench.analysis.shared_texts import sharing_texts
from clsbench.analysis.standing import baselines, smallest_significant, standing, trained
from clsbench.analysis.suite_columns import columns
from clsbench.analysis.suite_figures import suite_figures
from clsbench.analysis.suite_table import brief_table, suite_table
from clsbench.errors import UsageError
from clsbench.report.page.answer import answer
from clsbench.results.store import StoredRun, read_record, scan, write_record
from clsbench.results.suite_results import (
    latest_suite,
    read_suite_results,
    suites_of,
    write_suite_results,
)
from clsbench.schema.record import FastPath, KeptActivations

COLUMNS = columns(SHOWN)
NAMES = [value.name for column in COLUMNS for value in column.values]

KEPT = KeptActivations(
    texts=10, distinct=10, computed=4, found=6, recomputed=0, memory_bytes=1, disk_bytes=0
)


def test_suite_table_has_rows_and_baselines(tmp_path: Path) -> None:
    rows = [
        Row(title="one", accuracy=0.95, published=0.94),
        Row(title="two", accuracy=0.6, record={"fast_path": FastPath(shortcuts=(), kept=KEPT)}),
        Row(title="three", accuracy=0.9, seeds=(1, 2, 3)),
    ]
    table = suite_table(make_figures(tmp_path, rows))
    assert list(table.columns) == NAMES
    assert list(table["title"]) == [
        *("one", "two", "three", "baseline majority", "baseline tfidf-logreg:ngrams=1,c=1.0"),
    ]
    one, two, three, _, tfidf = table.to_dict("records")
    assert one["difference_from_published"] == pytest.approx(0.01)
    assert (one["test_accuracy_low"], one["test_accuracy_high"]) == pytest.approx(
        (0.919, 0.969), abs=0.001
    )
    assert two["against_best"] == pytest.approx(-0.35)
    assert (two["against_first_verdict"], two["prefix_found"]) == ("worse", True)
    assert three["seeds"] == 3
    assert three["test_accuracy_sd"] == pytest.approx(0, abs=1e-9)
    assert tfidf["baseline"]
    assert tfidf["prefix_and_training_seconds"] == pytest.approx(0.4)
    assert np.isnan(tfidf["validation_accuracy"])
    assert one["prefix_and_training_seconds"] == 10


def test_columns_have_unique_names_and_headers() -> None:
    for values in (NAMES, [column.header for column in COLUMNS if column.header]):
        assert len(set(values)) == len(values)
    orders = [column.drop for column in COLUMNS if column.drop]
    assert len(set(orders)) == len(orders)


def test_row_figures_scores_are_means_over_seeds(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row(seeds=(1, 2), less_by_seed=0.1), Row()])
    row = figures.rows[0]
    scores = [run.record.metrics.test.macro_f1 for run in row.runs if run.record.metrics]
    assert row.scores["macro_f1"] == pytest.approx(sum(scores) / 2)
    assert row._replace(contender=None).scores["macro_f1"] == row.scores["macro_f1"]
    assert suite_table(figures)["test_macro_f1"][0] == row.scores["macro_f1"]
    alone = suite_figures(figures.results, tmp_path / "nowhere", CATALOG)
    assert suite_table(alone)["test_macro_f1"].isna().all()


def test_brief_table_leaves_out_columns_of_usual_values(tmp_path: Path) -> None:
    table = brief_table(make_figures(tmp_path, [Row(title="a"), Row(title="b", accuracy=0.9)]))
    assert {"row", "title", "test_accuracy", "rank_best", "brier"} <= set(table.columns)
    assert not {"state", "seeds", "stand_ins", "baseline", "prefix_found"} & set(table.columns)


def test_training_cost_prefix_is_that_of_runs_that_computed_it(tmp_path: Path) -> None:
    """With several seeds, the first run computes the frozen layers and the others reuse them."""
    figures = make_figures(tmp_path, [Row(seeds=(1, 2, 3)), Row(seeds=(4,))])
    runs = []
    for number, run in enumerate(figures.rows[0].runs):
        kept = msgspec.structs.replace(KEPT, found=0 if number == 0 else 10)
        phases = {"prefix": 60.0 if number == 0 else 1.0, "training": 10.0 + number}
        record = msgspec.structs.replace(
            run.record, phases_seconds=phases, fast_path=FastPath(shortcuts=(), kept=kept)
        )
        runs.append(StoredRun(run.path, record))
    assert training_cost(runs) == (71.0, False)
    assert training_cost(runs[1:]) == (12.5, True)
    known = msgspec.structs.replace(KEPT, found=10, found_seconds=59.0)
    later = [
        StoredRun(
            run.path,
            msgspec.structs.replace(run.record, fast_path=FastPath(shortcuts=(), kept=known)),
        )
        for run in runs[1:]
    ]
    assert training_cost(later) == (71.5, False), "as if it had computed the frozen layers"


def test_suite_figures_rows_with_other_test_texts_are_not_compared(tmp_path: Path) -> None:
    rows = [Row(title="a"), Row(title="b", accuracy=0.9), Row(title="other")]
    figures = make_figures(tmp_path, rows)
    (run,) = figures.rows[2].runs
    assert run.record.data is not None
    data = msgspec.structs.replace(run.record.data, sha256="other")
    write_record(run.path, msgspec.structs.replace(run.record, data=data))
    figures = suite_figures(figures.results, tmp_path, CATALOG)
    assert figures.comparison is not None
    assert len([each for each in figures.comparison.contenders if each.runs]) == 2
    assert figures.problems == ("row 3 is not compared: it was evaluated on different test texts",)
    table = suite_table(figures)
    assert list(table["title"])[3:] == ["baseline majority", "baseline tfidf-logreg:ngrams=1,c=1.0"]
    other = table.to_dict("records")[2]
    assert (other["test_accuracy_low"], other["test_accuracy_high"]) == pytest.approx(
        (0.919, 0.969), abs=0.001
    )
    assert np.isnan(other["against_first"])
    # If the first row is left out, the others are compared with the next one.
    (run,) = figures.rows[0].runs
    write_record(run.path, msgspec.structs.replace(run.record, data=data))
    (run,) = figures.rows[2].runs
    assert run.record.data is not None
    data = msgspec.structs.replace(run.record.data, sha256=figures.comparison.test_sha256)
    write_record(run.path, msgspec.structs.replace(run.record, data=data))
    figures = suite_figures(figures.results, tmp_path, CATALOG)
    assert figures.reference == "2"
    table = suite_table(figures)
    assert list(table["against_first"].isna())[:3] == [True, True, False]
    reply = answer(figures)
    assert reply.question.startswith("Which of 2 configurations")
    assert "Not part of the comparison: row 1" in " ".join(reply.sentences)


def test_sharing_texts_many_seeds_count_as_one_experiment(tmp_path: Path) -> None:
    rows = [Row(seeds=(1, 2, 3, 4, 5)), Row(), Row()]
    figures = make_figures(tmp_path, rows)
    runs = []
    for run in figures.rows[0].runs:
        assert run.record.data is not None
        data = msgspec.structs.replace(run.record.data, sha256="other")
        runs.append(StoredRun(run.path, msgspec.structs.replace(run.record, data=data)))
    others = [*figures.rows[1].runs, *figures.rows[2].runs]
    assert sharing_texts([*runs, *others]) == others


def test_suite_table_without_rows_has_all_columns(tmp_path: Path) -> None:
    assert list(suite_table(make_figures(tmp_path, [])).columns) == NAMES


def test_standing_of_both_orders_is_symmetric(tmp_path: Path) -> None:
    rows = [Row(accuracy=0.95), Row(accuracy=0.6), Row(accuracy=0.95, seeds=(9,))]
    comparison = make_figures(tmp_path, rows).comparison
    assert comparison is not None
    names = [each.name for each in comparison.contenders]
    this, that = (standing(comparison, *pair) for pair in ((names[0], names[1]), names[1::-1]))
    assert this is not None
    assert that is not None
    assert (this.b, this.a) == (that.a, that.b) == (names[0], names[1])
    assert this.found is not None
    assert that.found is not None
    assert this.found.difference == pytest.approx(0.35) == pytest.approx(-that.found.difference)
    assert (this.verdict, that.verdict) == ("better", "worse")
    low, high = that.found.interval
    assert this.found.interval == pytest.approx((-high, -low))
    assert (this.found.only_b, this.found.only_a) == (that.found.only_a, that.found.only_b)
    assert standing(comparison, names[0], names[0]) is None
    assert standing(comparison, names[0], names[2]) is None, "no seed in common"
    assert [each.accuracy for each in trained(comparison)] == [0.95, 0.95, 0.6]
    assert [round(each.accuracy, 2) for each in baselines(comparison)] == [0.9, 0.5]
    assert smallest_significant(comparison) == pytest.approx(0.3)


def test_mistakes_are_sorted_by_number_of_runs(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row(accuracy=0.9), Row(accuracy=0.5)])
    found = mistakes({row.row.label: row.runs[0] for row in figures.rows})
    assert found.texts == TEXTS
    assert sum(len(each.by_run) for each in found.found) == 30 + 150
    assert sum("1" in each.by_run for each in found.found) == 30
    counts = [len(each.by_run) for each in found.found]
    assert counts == sorted(counts, reverse=True)
    for each in found.found:
        for wrong in each.by_run.values():
            assert wrong.predicted != each.label
            assert wrong.confidence == pytest.approx(0.8)
        assert all(wrong.predicted != each.label for wrong in each.by_baseline.values())
    with pytest.raises(UsageError):
        mistakes({})


def test_rows_of_runs_has_one_row_per_experiment(tmp_path: Path) -> None:
    make_figures(tmp_path, [Row(accuracy=0.9, seeds=(1, 2)), Row(accuracy=0.5)])
    runs = scan(tmp_path).runs
    results = rows_of_runs(runs)
    assert [len(row.runs) for row in results.rows] == [2, 1]
    assert all(Path(name).is_absolute() for row in results.rows for name in row.runs)
    figures = suite_figures(results, Path("elsewhere"), CATALOG)
    assert [len(row.runs) for row in figures.rows] == [2, 1]
    assert figures.problems == ()
    failed = StoredRun(runs[0].path, msgspec.structs.replace(runs[0].record, status="failed"))
    with pytest.raises(UsageError, match="is failed: only finished runs are reported"):
        rows_of_runs([failed, *runs[1:]])
    with pytest.raises(UsageError, match="no runs to report"):
        rows_of_runs([])


def test_rows_of_runs_are_named_by_the_choices_that_distinguish_them(tmp_path: Path) -> None:
    specs = [make_spec(), make_spec(freezing={"name": "all"}), make_spec()]
    specs[2]["train"]["lr"] = 0.1
    make_figures(tmp_path, [Row(record={"spec": spec}) for spec in specs])
    titles = [row.title for row in rows_of_runs(scan(tmp_path).runs).rows]
    assert titles == ["gpt2-sms-spam", "all", "lr=0.1"]
    two = [row.title for row in rows_of_runs(scan(tmp_path).runs[:2]).rows]
    assert two == ["last-blocks:n=1", "all"]


def test_rows_of_runs_modified_rows_are_named_by_their_choices(tmp_path: Path) -> None:
    head_only = {"name": "head-only"}
    specs = [
        make_spec(),
        make_spec(freezing=head_only),
        {**make_spec(freezing=head_only), "adapter": {"name": "lora", "r": 8}},
    ]
    specs[2]["train"]["lr"] = 0.1
    rows = [Row(record={"spec": spec, "modified": n > 0}) for n, spec in enumerate(specs)]
    make_figures(tmp_path, rows)
    runs = scan(tmp_path).runs
    titles = [row.title for row in rows_of_runs(runs).rows]
    assert titles == ["last-blocks:n=1", "head-only, no adapter, lr=5e-05", "lora:r=8, lr=0.1"]
    assert [each.name for each in compare_runs(runs).contenders if each.runs] == titles


def test_rows_of_runs_one_experiment_without_baselines_is_one_row(tmp_path: Path) -> None:
    make_figures(tmp_path, [Row(accuracy=0.9)], baselines=())
    results = rows_of_runs(scan(tmp_path).runs)
    assert [row.title for row in results.rows] == ["gpt2-sms-spam"]
    assert suite_figures(results, tmp_path, CATALOG).comparison is None


def test_rows_of_runs_different_test_texts_are_refused(tmp_path: Path) -> None:
    make_figures(tmp_path, [Row(), Row(), Row()])
    runs = list(scan(tmp_path).runs)
    record = runs[0].record
    assert record.data is not None
    data = msgspec.structs.replace(record.data, sha256="cd" * 32)
    other = StoredRun(runs[0].path, msgspec.structs.replace(record, data=data))
    with pytest.raises(UsageError, match="evaluated on different test texts"):
        rows_of_runs([other, *runs[1:]])
    assert sharing_texts([other, *runs[1:]]) == runs[1:]
    assert sharing_texts([]) == []


def test_latest_suite_ignores_damaged_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert latest_suite(tmp_path) is None
    first = make_figures(tmp_path, [Row()]).results
    later = msgspec.structs.replace(first, name="later", created="2026-01-01T00:00:00+00:00")
    write_suite_results(tmp_path, later)
    (tmp_path / "suites" / "damaged.json").write_text("{")
    assert suites_of(tmp_path) == ["a-suite", "damaged", "later"]
    found = latest_suite(tmp_path)
    assert found is not None
    assert found.name == "later"
    assert "damaged.json is damaged" in caplog.text


@pytest.mark.parametrize("content", [b'{"a":' * 100_000, b'{"schema_version": ' + b"9" * 5000])
def test_write_suite_results_replaces_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    results = make_figures(tmp_path, [Row()]).results
    file = tmp_path / "suites" / f"{results.name}.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"a-suite\.json is damaged"):
        read_suite_results(tmp_path, results.name)
    write_suite_results(tmp_path, results)
    assert read_suite_results(tmp_path, results.name) == results


def test_example_store_reads_back(tmp_path: Path) -> None:
    run = make_figures(tmp_path, [Row()]).rows[0].runs[0]
    assert read_record(run.path) == run.record


def test_suite_figures_row_with_damaged_predictions_is_not_compared(tmp_path: Path) -> None:
    rows = [Row(accuracy=0.95), Row(accuracy=0.6), Row(accuracy=0.9)]
    results = make_figures(tmp_path, rows).results
    file = tmp_path / results.rows[1].runs[0] / "predictions.csv"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    figures = suite_figures(results, tmp_path, CATALOG)
    assert figures.comparison is not None
    assert [row.contender is not None for row in figures.rows] == [True, False, True]
    (problem,) = figures.problems
    assert problem.startswith("row 2 is not compared:")
    assert figures.rows[1].record is not None, "its record is still used"


def test_suite_figures_row_with_missing_seeds_is_in_part(tmp_path: Path) -> None:
    results = make_figures(tmp_path, [Row(seeds=(1, 2)), Row()]).results
    waits = msgspec.structs.replace(results.rows[0], waiting=3)
    figures = suite_figures(
        msgspec.structs.replace(results, rows=(waits, results.rows[1])), tmp_path, CATALOG
    )
    assert list(suite_table(figures)["state"])[:2] == ["in part", "finished"]
    assert figures.missing_in_words() == [
        "Row 1: 3 of 5 runs have not finished; the results are those of the others."
    ]


def test_trained_equally_accurate_rows_are_sorted_by_time_with_prefix(tmp_path: Path) -> None:
    slow = {"phases_seconds": {"prefix": 30.0, "training": 10.0}}
    figures = make_figures(tmp_path, [Row(seconds=10), Row(seconds=20)])
    run, other = (row.runs[0] for row in figures.rows)
    write_record(run.path, msgspec.structs.replace(run.record, **slow))
    write_record(other.path, msgspec.structs.replace(other.record, metrics=run.record.metrics))
    equal = (run.path / "predictions.csv").read_text()
    (other.path / "predictions.csv").write_text(equal)
    comparison = suite_figures(figures.results, tmp_path, CATALOG).comparison
    assert comparison is not None
    assert [(each.name, each.prefix_and_training_seconds) for each in trained(comparison)] == [
        ("row 2", 20.0),
        ("row 1", 40.0),
    ]


def test_compare_runs_calibration_error_is_a_mean_over_seeds(tmp_path: Path) -> None:
    comparison = make_figures(tmp_path, [Row(accuracy=0.9, seeds=(1, 2)), Row()]).comparison
    assert comparison is not None
    several = comparison.contenders[0]
    assert several.calibration is not None
    assert several.calibration_error == pytest.approx(0.1), "confidence 0.8, accuracy 0.9"
    assert several.brier == pytest.approx(several.calibration.brier)


def test_prefix_found_run_that_continued_cached_layers_is_marked(tmp_path: Path) -> None:
    continued = msgspec.structs.replace(KEPT, found=0, computed=10, continued=10)
    rows = [Row(record={"fast_path": FastPath(shortcuts=(), kept=continued)}), Row()]
    table = suite_table(make_figures(tmp_path, rows, baselines=()))
    assert list(table["prefix_found"]) == [True, False]
