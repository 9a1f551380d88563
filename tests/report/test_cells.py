from __future__ import annotations

from pathlib import Path

import pytest
from metric_examples import CATALOG, SHOWN
from report_examples import Row, make_figures

from clsbench.analysis.suite_columns import columns
from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.report.cells import NOTHING, Cell, cell_of


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> SuiteFigures:
    rows = [
        Row(title="three seeds", accuracy=0.95, seeds=(1, 2, 3), less_by_seed=0.01),
        Row(title="one seed", accuracy=0.7, seeds=(2,), published=0.72),
    ]
    return make_figures(tmp_path_factory.mktemp("store"), rows)


def cells(figures: SuiteFigures, place: int) -> dict[str, Cell]:
    row = [*figures.rows, *figures.baselines][place]
    return {column.header: cell_of(column, row) for column in columns(SHOWN) if column.header}


def test_cell_of_several_values_contains_all(figures: SuiteFigures) -> None:
    several, single, majority, _ = (cells(figures, place) for place in range(4))
    assert several["test accuracy"].text == "94.00 % ± 1.00"
    assert single["test accuracy"] == Cell("70.00 %", 0.7, "strong")
    assert single["95 % interval"].text == "64.6–74.9"
    assert single["against row {first}"].text.endswith(" pp †")
    assert single["against row {first}"].kind == "worse"
    assert single["rank"].text == "3"
    assert single["not in train"].text.count("–") == 1, "with its interval"
    assert "(" not in several["not in train"].text
    assert single["published"] == Cell("72.00 %", 0.72, "muted")
    assert single["against published"].text == "-2.00 pp"
    assert majority["training time"].text == "10 ms"


def test_cell_without_a_value_is_a_dash(figures: SuiteFigures) -> None:
    several, _, majority, _ = (cells(figures, place) for place in range(4))
    assert several["published"] == NOTHING
    assert several["against row {first}"] == NOTHING
    assert majority["trained parameters"] == NOTHING
    assert majority["validation"] == NOTHING


def test_cell_of_a_row_without_figures_names_its_state(
    figures: SuiteFigures, tmp_path: Path
) -> None:
    gone = suite_figures(figures.results, tmp_path, CATALOG)
    assert cells(gone, 0)["test accuracy"] == Cell("not run", None, "state")
    assert {cell.text for name, cell in cells(gone, 0).items() if name != "test accuracy"} == {"–"}
