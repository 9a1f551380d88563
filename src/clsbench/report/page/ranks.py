"""The ranks over data sets on the page: a critical-difference diagram, words, and a table."""

from __future__ import annotations

import io
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup

from clsbench.analysis.dataset_ranks import RankedMethod, Ranks
from clsbench.report.page.curves import PAGE_SETTINGS, SVG_NAMESPACE, inline_markup
from clsbench.report.plots.ranks import GROUP, ranks_figure
from clsbench.report.ranks import RANK_ON_DATASET, ranks_note, verdict_text
from clsbench.report.wording import metric_text


class RankCell(NamedTuple):
    """A score and the rank of the method on a data set; ``best``: no method is better there."""

    score: str
    rank: str
    best: bool


class MethodLine(NamedTuple):
    """A method: its name, mean rank, verdict (empty without a test) and one cell per data set."""

    name: str
    baseline: bool
    mean_rank: str
    verdict: str
    cells: tuple[RankCell, ...]


class RankDrawing(NamedTuple):
    """The diagram, notes, the data sets (name, facts) and the methods, the best first."""

    drawing: Markup
    width: float
    height: float
    caption: str
    notes: tuple[str, ...]
    datasets: tuple[tuple[str, str], ...]
    methods: tuple[MethodLine, ...]
    tested: bool


def rank_drawing(ranks: Ranks) -> RankDrawing:
    """Draw the ranks in the page's colors and font."""
    settings: dict[str, Any] = PAGE_SETTINGS | {"svg.hashsalt": "ranks"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = ranks_figure(ranks)
        figure.patch.set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    width, height = (72 * inches for inches in figure.get_size_inches())
    parts = [
        inline_markup(child, {GROUP: "var(--c0)"})
        for child in root
        if child.tag != f"{SVG_NAMESPACE}metadata"
    ]
    caption = "Mean ranks; the best is on the left."
    if ranks.tied:
        caption += " Lines join methods that do not differ significantly."
    return RankDrawing(
        Markup("").join(parts),
        width,
        height,
        caption,
        (ranks_note(ranks), RANK_ON_DATASET),
        tuple(
            (
                each.name,
                f"{each.component}: {each.classes} classes, {each.train_texts:,} training texts, "
                f"{each.test_texts:,} test texts",
            )
            for each in ranks.datasets
        ),
        tuple(_line(each, ranks) for each in ranks.methods),
        ranks.test is not None,
    )


def _line(method: RankedMethod, ranks: Ranks) -> MethodLine:
    cells = []
    for place, score in enumerate(method.scores):
        rank = method.ranks[place]
        best = rank == min(each.ranks[place] for each in ranks.methods)
        cells.append(RankCell(metric_text(ranks.metric, score), f"{rank:g}", best))
    return MethodLine(
        method.name,
        not method.rows,
        f"{method.mean_rank:.2f}",
        verdict_text(method, ranks),
        tuple(cells),
    )
