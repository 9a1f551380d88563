"""The learning curves on the page: a drawing, and what it shows in words."""

from __future__ import annotations

import io
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup

from clsbench.analysis.learning_curves import LearningCurves
from clsbench.report.learning_curves import curves_in_words, curves_note
from clsbench.report.page.curves import PAGE_SETTINGS, SVG_NAMESPACE, inline_markup
from clsbench.report.plots.growth import STYLES
from clsbench.report.plots.learning_curves import MOST_LINES, learning_curves_figure
from clsbench.report.wording import metric_range, metric_text

_OWN_COLORS = {style["color"]: f"var(--c{n})" for n, style in enumerate(STYLES)}


class CurveDrawing(NamedTuple):
    """The drawing (``None`` if there are too many lines), sentences, a note, and a table.

    ``rows`` holds for each line its name and one cell per size in ``sizes``.
    """

    drawing: Markup | None
    width: float
    height: float
    sentences: tuple[str, ...]
    note: str
    sizes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def curve_drawing(curves: LearningCurves) -> CurveDrawing:
    """Draw the curves in the page's colors and font."""
    drawing, (width, height) = None, (0.0, 0.0)
    if len(curves.lines) <= MOST_LINES:
        drawing, width, height = _drawn(curves)
    sizes, metric = curves.sizes(), curves.metric
    rows = []
    for line in curves.lines:
        points = {p.train_texts: p for p in line.points}
        cells = (
            f"{metric_text(metric, p.score)} ({metric_range(metric, *p.interval)})"
            if p is not None
            else "–"
            for p in map(points.get, sizes)
        )
        rows.append((line.name, tuple(cells)))
    return CurveDrawing(
        drawing,
        width,
        height,
        tuple(curves_in_words(curves)),
        curves_note(curves),
        tuple(f"{size:,}" for size in sizes),
        tuple(rows),
    )


def _drawn(curves: LearningCurves) -> tuple[Markup, float, float]:
    settings: dict[str, Any] = PAGE_SETTINGS | {"svg.hashsalt": "learning-curves"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = learning_curves_figure(curves)
        figure.patch.set_visible(False)
        figure.axes[0].set_frame_on(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    width, height = (72 * inches for inches in figure.get_size_inches())
    parts = [
        inline_markup(child, _OWN_COLORS)
        for child in root
        if child.tag != f"{SVG_NAMESPACE}metadata"
    ]
    return Markup("").join(parts), width, height
