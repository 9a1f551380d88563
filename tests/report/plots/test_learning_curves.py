"""The plot of learning curves."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_examples import make_figures, row_of_size

from clsbench.analysis.learning_curves import CurveLine, LearningCurves
from clsbench.errors import UsageError
from clsbench.report.plots.learning_curves import (
    MOST_LINES,
    learning_curves_figure,
    save_learning_curves,
)


@pytest.fixture
def curves(tmp_path: Path) -> LearningCurves:
    sizes = ((16, 0.6), (64, 0.9), (256, 0.98))
    rows = [row_of_size(n, a, title=f"costs $5, data.train_size={n}") for n, a in sizes]
    found = make_figures(tmp_path / "store", rows).curves
    assert found is not None
    return found


def test_learning_curves_figure_has_a_line_with_intervals_for_every_row_and_baseline(
    curves: LearningCurves,
) -> None:
    figure = learning_curves_figure(curves)
    (axes,) = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "costs $5",
        "the most frequent class (baseline)",
        "TF-IDF + logistic regression (baseline)",
    ]
    assert len(axes.containers) == 3
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["16", "64", "256"]


@pytest.mark.parametrize("name", ["curves.svg", "curves.png", "curves.pdf"])
def test_save_learning_curves_same_curves_give_the_same_file(
    curves: LearningCurves, tmp_path: Path, name: str
) -> None:
    contents = []
    for _ in range(2):
        save_learning_curves(curves, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] != b""


def test_save_learning_curves_without_curves_or_with_too_many_lines_is_refused(
    curves: LearningCurves, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no learning curves.*--sweep data\.train_size=16,64,256"):
        save_learning_curves(None, tmp_path / "a.svg")
    lines = tuple(
        CurveLine(name=str(n), baseline=False, points=curves.lines[0].points)
        for n in range(MOST_LINES + 1)
    )
    many = LearningCurves(test_texts=9, lines=lines, pairs=(), stand_ins=())
    with pytest.raises(UsageError, match="at most 16 lines, but there are 17"):
        save_learning_curves(many, tmp_path / "a.svg")
    assert not list(tmp_path.glob("a*"))
