"""The ranks over data sets on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from metric_examples import CATALOG
from rank_examples import BASELINE, by_ranks, make_ranks
from report_examples import make_figures, rows_on_datasets

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.report.page.answer import answer
from clsbench.report.page.content import build_page
from clsbench.report.page.files import report_text
from clsbench.report.page.html import render
from clsbench.report.page.ranks import rank_drawing
from clsbench.report.plots.suite import save_suite_plot
from clsbench.report.terminal.headline import suite_headline


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> SuiteFigures:
    """Two methods and two baselines on two data sets."""
    rows = rows_on_datasets({"all": [0.97, 0.95], "head": [0.7, 0.8]})
    return make_figures(tmp_path_factory.mktemp("store"), rows)


def test_rank_drawing_has_exact_numbers_and_a_line_per_method() -> None:
    drawing = rank_drawing(make_ranks(by_ranks(("all", BASELINE, "head"), ["123"] * 5 + ["213"])))
    assert "1.17" in drawing.drawing
    assert "critical difference 1.35" in drawing.drawing
    assert [(line.name, line.baseline, line.verdict) for line in drawing.methods] == [
        ("all", False, "best"),
        ("TF-IDF", True, "not worse"),
        ("head", False, "worse †"),
    ]
    assert [cell.best for cell in drawing.methods[0].cells] == [True] * 5 + [False]
    assert drawing.methods[1].cells[0] == ("80.00 %", "2", False)
    assert drawing.datasets[0][1].endswith("2 classes, 1,045 training texts, 300 test texts")


def test_build_page_over_data_sets_compares_no_texts(figures: SuiteFigures) -> None:
    page = build_page(figures, CATALOG, None)
    assert page.ranks is not None
    assert (page.wide, page.verdicts, page.wrong, page.reliabilities) == (None,) * 4
    assert (page.confusions, page.data) == ((), ())
    assert page.answer.question == "Which of 4 methods ranks best over 2 data sets?"
    html = render(page)
    assert '<section id="ranks"' in html
    assert '<section id="mistakes"' not in html


def test_answer_over_data_sets_recommends_the_best_method(figures: SuiteFigures) -> None:
    found, headline = answer(figures), suite_headline(figures)
    assert headline is not None
    assert found.headline == headline.sentence
    assert found.headline.startswith("Over 2 data sets, all ranks best (mean rank 1.00). A test")
    assert headline.contender is figures.rows[0].contender
    assert found.tied == frozenset(), "without a test"


def test_suite_headline_best_baseline_is_that_of_the_first_data_set(tmp_path: Path) -> None:
    found = make_figures(tmp_path, rows_on_datasets({"all": [0.7, 0.6]}))
    headline = suite_headline(found)
    assert headline is not None
    assert headline.contender.title == "TF-IDF + logistic regression"


def test_report_text_over_data_sets_has_methods_in_rows(figures: SuiteFigures) -> None:
    latex = report_text(figures, "latex", CATALOG, None)
    assert r"method & mean\_rank & a.csv & b.csv \\" in latex
    assert r"all & 1.0000 & 0.9700 & 0.9500 \\" in latex
    markdown = report_text(figures, "markdown", CATALOG, None)
    assert "## Ranks over data sets" in markdown
    assert "## All rows" in markdown
    table = report_text(figures, "csv", CATALOG, None)
    assert len(table.splitlines()) == 1 + 4 + 4


def test_save_suite_plot_over_data_sets_draws_ranks(figures: SuiteFigures, tmp_path: Path) -> None:
    save_suite_plot(figures, tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")
