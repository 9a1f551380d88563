"""Suites and comparisons on terminals of different widths."""

from __future__ import annotations

import io
import re
from pathlib import Path

import msgspec
import pytest
from metric_examples import CATALOG, SHOWN
from record_examples import make_record
from report_examples import Row, make_figures

from clsbench.analysis.estimates import estimates_in_words
from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.report.page.content import figure_notes
from clsbench.report.terminal.comparison import print_comparison
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.suite import print_suite
from clsbench.schema.record import Estimate

STYLES = re.compile(r"\x1b\[[0-9;]*m")
WIDTHS = (80, 100, 120, 200)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> SuiteFigures:
    rows = [
        Row(title=f"last block, the {word} row of the suite", accuracy=share, published=0.95)
        for word, share in (("first", 0.95), ("second", 0.9), ("third", 0.7))
    ]
    return make_figures(tmp_path_factory.mktemp("store"), rows)


def suite_lines(figures: SuiteFigures, width: int, tmp_path: Path | None = None) -> list[str]:
    file = io.StringIO()
    store = figures.rows[0].runs[0].path.parent
    print_suite(
        Console(file=file, width=width, force_terminal=True), figures.results, store, CATALOG
    )
    return STYLES.sub("", file.getvalue()).splitlines()


def comparison_lines(figures: SuiteFigures, width: int) -> list[str]:
    assert figures.comparison is not None
    file = io.StringIO()
    print_comparison(
        Console(file=file, width=width, force_terminal=True), figures.comparison, SHOWN, None, 2
    )
    return STYLES.sub("", file.getvalue()).splitlines()


def test_print_comparison_shows_the_pairs_that_have_the_primary_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsbench.analysis.resampling.RESAMPLES", 100)
    made = make_figures(tmp_path, [Row(title="one", accuracy=0.8), Row(title="two", accuracy=0.97)])
    figures = suite_figures(made.results, tmp_path, CATALOG, "log-loss")
    assert figures.comparison is not None
    file = io.StringIO()
    print_comparison(Console(file=file, width=200), figures.comparison, figures.metrics, None, 0)
    text = " ".join(file.getvalue().split())
    assert "row 2 is significantly better than row 1, by 0.2357 (95 %: " in text
    assert "not compared" not in text
    assert "baseline majority" in text
    assert "the baselines have no loss, which needs probabilities" in text


def test_print_comparison_of_many_pairs_reports_which_are_hidden(tmp_path: Path) -> None:
    figures = make_figures(tmp_path, [Row(title=f"row {n}", accuracy=0.9) for n in range(4)])
    text = " ".join(comparison_lines(figures, 200))
    assert figures.comparison is not None
    assert len(figures.comparison.pairs) == 15
    first = figures.comparison.contenders[0].name
    assert f"Only pairs with {first} are shown. Holm's correction includes 10 more pairs;" in text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("draw", [suite_lines, comparison_lines])
def test_output_keeps_words_and_numbers_whole(
    figures: SuiteFigures, draw: object, width: int
) -> None:
    assert callable(draw)
    lines = draw(figures, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    text = re.sub(r"Not shown for lack of space: .*? shows (it|them)\.", "", " ".join(lines))
    whole = set(" ".join(draw(figures, 1000)).split())
    after_punctuation = re.compile(r"[,:;/=-]$")

    def is_whole(word: str) -> bool:
        """Whether it is a word, or a part of a label that may be broken there."""
        return any(
            (at == 0 or after_punctuation.search(long[:at]))
            and (at + len(word) == len(long) or after_punctuation.search(word))
            for long in whole
            for at in range(len(long))
            if long.startswith(word, at)
        )

    words = [word for word in text.split() if not word.startswith("─")]
    assert [word for word in words if not is_whole(word)] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_suite_has_headers_at_every_width(figures: SuiteFigures, width: int) -> None:
    text = "\n".join(suite_lines(figures, width))
    header = text.partition("─")[0].split()
    assert {"row", "test", "accuracy", "95", "against", "1", "time"} <= set(header)
    hidden = text.partition("space: ")[2].partition(";")[0]
    for name in ("rank", "not in train", "calibration error", "trained parameters"):
        assert (name in " ".join(hidden.split())) != (name.split()[-1] in header)


def test_suite_row_that_shares_runs_names_the_other_row(figures: SuiteFigures) -> None:
    first, second, _ = figures.results.rows
    twin = msgspec.structs.replace(first, label="again", same_as="1")
    results = msgspec.structs.replace(figures.results, rows=(first, second, twin))
    [line] = [
        line
        for line in suite_lines(figures._replace(results=results), 160)
        if line.startswith(" again ")
    ]
    assert "95.00 %" in line
    assert "= row 1" in line


@pytest.mark.parametrize("width", WIDTHS)
def test_comparison_has_headers_at_every_width(figures: SuiteFigures, width: int) -> None:
    text = "\n".join(comparison_lines(figures, width))
    tables = [part.split() for part in re.split("─+", text)]
    assert {"300", "test", "accuracy", "95", "%", "rank"} <= set(tables[0])
    assert {"first", "–", "second", "difference", "corrected"} <= set(tables[1])


def test_suite_without_a_description_has_its_name_as_heading(figures: SuiteFigures) -> None:
    results = msgspec.structs.replace(figures.results, description="")
    lines = suite_lines(figures._replace(results=results), 100)
    assert lines[0].strip() == results.name


@pytest.mark.parametrize(("expected", "ratio"), [(6.0, "2.00"), (0.01, None)])
def test_estimates_are_judged_unless_they_are_short(
    expected: float, ratio: str | None, tmp_path: Path
) -> None:
    figures = make_figures(tmp_path, [Row()])  # 10 s of training, 2 s of evaluation
    estimate = Estimate(prefix_seconds=0, training_seconds=expected, evaluation_seconds=0)
    (row,) = figures.results.rows
    row = msgspec.structs.replace(row, estimate=estimate)
    figures = suite_figures(
        msgspec.structs.replace(figures.results, rows=(row,)), tmp_path, CATALOG
    )
    said = estimates_in_words(figures)
    assert (said and said.partition(" took ")[2].split()[0]) == ratio


def test_timing_notes_different_numbers_of_threads_are_reported(
    tmp_path: Path,
) -> None:
    two = make_record().environment
    one = msgspec.structs.replace(two, threads=1)
    environments = [two, one, two]
    rows = [Row(title=str(n), record={"environment": e}) for n, e in enumerate(environments)]
    figures = make_figures(tmp_path, rows)
    cpu = two.device_name
    note = (
        f"Times are not comparable: they were measured on {cpu}, 2 threads (row 1 and row 3)"
        f"; {cpu}, 1 thread (row 2)."
    )
    for lines in (suite_lines(figures, 1000), comparison_lines(figures, 1000)):
        assert note in [line.strip() for line in lines]
    assert note in figure_notes(figures)
    alike = make_figures(tmp_path / "alike", rows[::2])
    assert "Times are not" not in " ".join(comparison_lines(alike, 1000))
