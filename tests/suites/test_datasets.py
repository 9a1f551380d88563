"""Tuned suites over several data sets: from quoted values to ranks, and resumed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from metric_examples import CATALOG
from msgspec.structs import replace

from clsbench.analysis.suite_figures import suite_figures
from clsbench.cli.sweep import Sweep
from clsbench.components.catalog import Catalog
from clsbench.schema.options import RunOptions
from clsbench.schema.suite import sweep_rows
from clsbench.schema.tuning import TuneSpec
from suites import SUITE, plan, run


@pytest.mark.slow
def test_run_suite_tuned_over_data_sets_ranks_rows_and_baselines_and_resumes(
    options: RunOptions, catalog: Catalog, tmp_path: Path
) -> None:
    values = []
    for name in "ab":
        generator = random.Random(name)
        texts = [f"{generator.choice(('fine', 'odd'))} {name}{n},{n % 2}" for n in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["body,label", *texts]) + "\n")
        values.append(f'"csv:path={tmp_path / name}.csv,text=body"')
    axis = Sweep(f"dataset={','.join(values)}")
    rows = replace(SUITE, rows=SUITE.rows[:2])
    suite = sweep_rows(rows, [(axis.key, axis.values)], "small")
    tune = TuneSpec(space={"train.lr": (1e-4, 1e-2)}, tuner="grid")
    tuned = replace(suite, tune=tune)
    results, observer = run(plan(options, catalog, tuned), options)
    assert observer.statuses() == ["running", "finished"] * 8
    figures = suite_figures(results, options.out, CATALOG)
    assert figures.ranks is not None
    assert [each.name for each in figures.ranks.datasets] == ["a.csv", "b.csv"]
    methods = {each.name: each.rows for each in figures.ranks.methods}
    assert methods["the head"] == ("1.1", "1.2")
    assert methods["last block"] == ("2.1", "2.2")
    assert methods["the most frequent class"] == ()
    assert figures.ranks.left_out == ()
    assert all(row.choice is not None for row in figures.rows)
    again, resumed = run(plan(options, catalog, tuned), options)
    assert set(resumed.statuses()) == {"stored"}
    assert [row.runs for row in again.rows] == [row.runs for row in results.rows]


def test_plan_suite_swept_option_of_the_users_data_set_is_planned(
    options: RunOptions, catalog: Catalog, tmp_path: Path
) -> None:
    """The data set of the suite's base has no such option."""
    files = [tmp_path / f"{name}.csv" for name in "ab"]
    for file in files:
        texts = "".join(f"{file.stem} {n},{n % 2}\n" for n in range(60))
        file.write_text(f"body,label\n{texts}")
    base = replace(SUITE, rows=SUITE.rows[:1])
    swept = sweep_rows(base, [("dataset.path", [str(file) for file in files])], "small")
    planned = plan(options, catalog, swept, dataset=f"csv:path={files[0]},text=body")
    assert [row.problem for row in planned.rows] == [None, None]
    assert all(row.modified for row in planned.rows)
    assert len(planned.runs()) == 2
