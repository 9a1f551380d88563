"""What the terminal, the page and the answer say of tuned rows."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command_line import command_in_process
from metric_examples import CATALOG
from msgspec.structs import replace
from report_examples import Row, make_figures

from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.cli.commands.compare import finished_ones
from clsbench.cli.main import main
from clsbench.components.catalog import load_catalog
from clsbench.errors import UsageError
from clsbench.report.page.answer import answer
from clsbench.report.page.content import build_page, figure_notes
from clsbench.report.page.html import render
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.suite import print_suite
from clsbench.report.tuning import shown_trials
from clsbench.results.suite_results import RowTuning, TrialResult, write_suite_results
from clsbench.schema.tuning import TuneSpec

TUNE = TuneSpec(space={"train.lr": (1e-4, 1e-3, 1e-2)}, tuner="grid")


def tuned(store: Path, scores: tuple[float | None, ...], chosen: int | None) -> SuiteFigures:
    """Two rows with the same trials; a score of ``None`` is a failed trial."""
    figures = make_figures(store, [Row(title="one", accuracy=0.95), Row(title="two", accuracy=0.9)])
    rows = []
    for row in figures.results.rows:
        trials = tuple(
            TrialResult(
                point={"train.lr": lr},
                run=None if score is None else row.runs[0],
                score=score,
                validation_loss=0.1,
                prefix_seconds=30.0 if lr == 1e-4 else 0.0,
                training_seconds=10.0,
                prefix_found=lr != 1e-4,
                error="the loss is infinite" if score is None else None,
            )
            for lr, score in zip(TUNE.space["train.lr"], scores, strict=False)
        )
        tuning = RowTuning(budget=3, trials=trials, chosen=chosen)
        rows.append(replace(row, tuning=tuning, runs=row.runs if chosen is not None else ()))
    return suite_figures(replace(figures.results, rows=tuple(rows), tune=TUNE), store, CATALOG)


def printed(figures: SuiteFigures, store: Path, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_suite(console, figures.results, store, CATALOG)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_print_suite_tuned_rows_show_choice_edge_cost_and_expected_best(tmp_path: Path) -> None:
    text = printed(tuned(tmp_path, (0.8, None, 0.9), 2), tmp_path)
    [line] = [line for line in text.splitlines() if line.startswith(" 1  one  ") and "▲" in line]
    assert line.split()[2:] == ["train.lr=0.01", "▲", "90.00", "%", "85.00", "%", "87.50", "%",
                                "50", "s"]  # fmt: skip
    notes = " ".join(text.split())
    assert "Rows 1 and 2: the chosen train.lr=0.01 is the highest value tried; also try" in notes
    assert "Row 1: 1 of 3 trials failed and count as tried; the first: train.lr=0.001:" in notes
    assert "Each row is tuned with 3 trials (grid) over train.lr = 0.0001, 0.001, 0.01." in notes


def test_page_of_tuned_rows_has_a_part_on_tuning(tmp_path: Path) -> None:
    figures = tuned(tmp_path, (0.8, 0.7, 0.9), 2)
    page = build_page(figures, load_catalog(), None)
    assert page.tuning is not None
    assert [row.chosen for row in page.tuning.rows] == ["train.lr=0.01 ▲"] * 2
    assert page.tuning.rows[0].seconds == "60 s"
    assert page.tuning.expected is not None
    assert "expected best of 1 trial 80.00 %, of 3 86.67 %" in page.tuning.expected.panels[0].words
    html = render(page)
    assert '<section id="tuning"' in html
    assert html.count('<span class="mark">tuned</span>') == 4  # in both tables
    assert any(s.startswith("Each row is tuned with 3 trials") for s in page.answer.sentences)
    assert build_page(make_figures(tmp_path / "x", [Row()]), load_catalog(), None).tuning is None


def test_report_of_rows_still_being_tuned_compares_nothing(tmp_path: Path) -> None:
    figures = tuned(tmp_path, (0.8, 0.7), None)
    assert [row.state for row in figures.rows] == ["being tuned"] * 2
    assert figures.comparison is None
    assert "being tuned" in printed(figures, tmp_path)
    assert answer(figures).headline == "There are no results yet: no row has finished."
    waiting = "Row 1: 2 of 3 trials have ended; one is chosen when all have."
    assert waiting in figure_notes(figures)


@pytest.mark.parametrize(
    ("trials", "expected"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (10, [1, 2, 4, 8, 10])]
)
def test_shown_trials_are_powers_of_two_and_all(trials: int, expected: list[int]) -> None:
    assert shown_trials(trials) == expected


def test_results_and_comparisons_leave_out_trials_that_were_not_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = tuned(tmp_path, (0.8, 0.7, 0.9), 2)
    chosen, lost = (row.runs[0] for row in figures.rows)
    tuning = figures.results.rows[0].tuning
    assert tuning is not None
    trials = (replace(tuning.trials[0], run=lost.path.name), *tuning.trials[1:])
    row = replace(figures.results.rows[0], tuning=replace(tuning, trials=trials))
    write_suite_results(tmp_path, replace(figures.results, rows=(row,)))
    assert finished_ones([chosen, lost]) == [chosen]
    assert f"left out {lost.path.name}: a trial of suite a-suite that was not chosen" in caplog.text
    with pytest.raises(UsageError, match="all runs are trials of a tuned suite"):
        finished_ones([lost])
    command = command_in_process(main, {}, tmp_path)
    listed = command("results", "--out", tmp_path, "--columns", "run", "--format", "csv")
    assert listed.stdout.split() == ["run", chosen.path.name]
    assert "left out 1 of 2 runs: trials that tuned suites have not chosen" in listed.stderr
    listed = command("results", "--out", tmp_path, "--columns", "run", "--trials")
    assert lost.path.name in listed.stdout
    write_suite_results(tmp_path, replace(figures.results, rows=(), tried=(chosen.path.name,)))
    listed = command("results", "--out", tmp_path)
    assert listed.stderr.count("\n") == 1, "not also that the store is empty"


def test_finished_ones_chosen_from_different_numbers_of_trials_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figures = tuned(tmp_path, (0.8, 0.7, 0.9), 2)
    runs = [row.runs[0] for row in figures.rows]
    write_suite_results(tmp_path, figures.results)
    assert finished_ones(runs) == runs
    assert not caplog.text
    (first, _) = figures.results.rows
    one = replace(figures.results, rows=(first,))
    write_suite_results(tmp_path, one, {first.label: first.changes})
    assert finished_ones(runs) == runs
    assert "were chosen from different numbers of trials (1, 3)" in caplog.text
