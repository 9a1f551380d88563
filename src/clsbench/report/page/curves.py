"""Training curves and reliability of each row as small drawings on shared axes.

Matplotlib draws all rows of a kind in one figure. Its SVG is split into the axes and the drawing
of each row, so that the page shows each row by itself and contains the axes once.
"""

from __future__ import annotations

import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from msgspec.structs import replace

from clsbench.analysis.calibration import Calibration
from clsbench.analysis.figures import MetricInfo
from clsbench.report.plots.reliability import draw_reliability
from clsbench.report.wording import metric_text
from clsbench.results.curves import (
    SETTINGS,
    TRAIN,
    VALIDATION,
    draw_curves,
)
from clsbench.schema.record import EpochEntry, History, RunRecord, StepEntry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 208, 132
_FRAME = (34 / WIDTH, 22 / HEIGHT, 166 / WIDTH, 102 / HEIGHT)
_MOST_POINTS, _MOST_MARKERS = 120, 8
_AXES = "axes_1"
SVG_NAMESPACE = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FAINT, _LINE = "#a2abb7", "#343b45"
_PAGE_STYLE = {
    TRAIN["color"]: "var(--train)",
    VALIDATION["color"]: "var(--validation)",
    _FAINT: "var(--faint)",
    _LINE: "var(--line)",
    "'DejaVu Sans'": "inherit",
}
"""The page's font and its colors, which differ in light and dark mode, in place of matplotlib's."""

PAGE_SETTINGS: dict[str, Any] = SETTINGS | {
    "svg.fonttype": "none",
    "axes.grid.axis": "y",
    "font.size": 9.0,
    "grid.color": _LINE,
    "axes.titlecolor": _FAINT,
    "axes.labelcolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "text.color": _FAINT,
}
"""Matplotlib's settings for drawings of the page."""

_SETTINGS: dict[str, Any] = PAGE_SETTINGS | {"lines.linewidth": 1.4, "lines.markersize": 3.0}


class Panel(NamedTuple):
    """The drawing of one row; ``words`` describes it."""

    title: str
    words: str
    drawing: Markup


class Panels(NamedTuple):
    """Drawings of rows on the same axes; ``id`` is that of the axes on the page."""

    id: str
    name: str
    axes: Markup
    panels: tuple[Panel, ...]


def loss_panels(rows: Sequence[tuple[str, RunRecord]]) -> Panels | None:
    """Training and validation loss at the evaluation points, over epochs."""
    drawn = [
        _course(title, record, _thinned(record.history.steps), "loss", ".3f")
        for title, record in rows
        if record.history is not None and record.history.steps
    ]

    def finish(axes: Axes) -> None:
        _epochs_axis(axes)
        axes.set_ylim(0, 1.05 * axes.dataLim.y1 or 1)

    return _panels("losses", "Mean cross-entropy (nats)", drawn, finish)


def accuracy_panels(rows: Sequence[tuple[str, RunRecord]]) -> Panels | None:
    """Training and validation accuracy before training and at the ends of epochs."""
    drawn = [
        _course(title, record, _with_start(record.history), "accuracy", ".1%")
        for title, record in rows
        if record.history is not None and record.history.epochs
    ]

    def finish(axes: Axes) -> None:
        _epochs_axis(axes)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
        axes.set_ylim(min(axes.dataLim.y0, 0.9) - 0.02, 1)

    return _panels("accuracies", "Accuracy (%)", drawn, finish)


def reliability_panels(rows: Sequence[tuple[str, Calibration]], num_classes: int) -> Panels | None:
    """Accuracy over confidence in bins with their intervals."""
    drawn = []
    for title, each in rows:
        caption = f"{title} (ECE {each.ece:.3f}, Brier {each.brier:.3f})"
        bins = (f"{b.n:,} texts: confidence {b.confidence:.0%}, accuracy {b.accuracy:.0%}"
                for b in each.bins)  # fmt: skip
        draw = partial(draw_reliability, calibration=each, **TRAIN)
        drawn.append(_Row(caption, "; ".join([caption, *bins]), draw))

    def finish(axes: Axes) -> None:
        lowest = 1 / num_classes
        axes.axline((0, 0), slope=1, color=_FAINT, linestyle=":", linewidth=1, clip_on=False)
        axes.set(xlim=(lowest, 1), ylim=(0, 1))
        for axis, ticks in ((axes.xaxis, 3), (axes.yaxis, 2)):
            axis.set_major_locator(MaxNLocator(ticks))
            axis.set_major_formatter(PercentFormatter(1.0, symbol=None))

    return _panels("reliabilities", "", drawn, finish)


def expected_panels(
    rows: Sequence[tuple[str, Sequence[float]]], metric: MetricInfo
) -> Panels | None:
    """The expected best validation score over the number of trials."""
    drawn = []
    for title, scores in rows:
        first, last = (metric_text(metric, score) for score in (scores[0], scores[-1]))
        words = f"{title}: expected best of 1 trial {first}, of {len(scores)} {last}"
        draw = partial(_draw_expected, scores=scores)
        drawn.append(_Row(title, words, draw))

    def finish(axes: Axes) -> None:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if metric.unit == "%":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
        margin = 0.1 * (axes.dataLim.y1 - axes.dataLim.y0) or 0.02
        axes.set_ylim(axes.dataLim.y0 - margin, axes.dataLim.y1 + margin)

    unit = f" ({metric.unit})" if metric.unit else ""
    name = f"Expected best validation {metric.header}{unit} by number of trials"
    return _panels("expected", name, drawn, finish)


def _draw_expected(axes: Axes, scores: Sequence[float]) -> None:
    axes.plot(range(1, len(scores) + 1), scores, **VALIDATION)


class _Row(NamedTuple):
    title: str
    words: str
    draw: Callable[[Axes], None]


def _panels(
    id: str, name: str, rows: Sequence[_Row], finish: Callable[[Axes], None]
) -> Panels | None:
    """Draw the rows; ``finish`` sets limits and ticks."""
    if not rows:
        return None
    settings = _SETTINGS | {"svg.hashsalt": id}  # so that ids are unique on the page
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes(_FRAME, frameon=False)
        axes.tick_params(length=0, labelcolor=_FAINT)
        axes.grid(axis="y", clip_on=False)
        for number, row in enumerate(rows):
            others = set(axes.get_children())
            row.draw(axes)
            for artist in set(axes.get_children()) - others:
                artist.set(gid=f"row-{number}", clip_on=False)
        finish(axes)
        parts = _split(figure)
    panels = [Panel(r.title, r.words, parts[f"row-{n}"]) for n, r in enumerate(rows)]
    return Panels(id, name, parts[_AXES], tuple(panels))


def _split(figure: Figure) -> dict[str, Markup]:
    """The HTML of the artists of each row, and of all others, in the page's colors and font."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    parts: dict[str, Markup] = defaultdict(Markup)
    for group in next(each for each in root.iter(f"{SVG_NAMESPACE}g") if each.get("id") == _AXES):
        name = group.get("id", "")
        parts[name if name.startswith("row-") else _AXES] += inline_markup(group)
    return parts


def inline_markup(
    group: ElementTree.Element,
    colors: Mapping[str, str] = MappingProxyType({}),
) -> Markup:
    """A part of matplotlib's SVG as HTML, in the page's colors and font.

    ``colors`` are replacements of further colors.
    """
    for element in group.iter():
        element.tag = element.tag.removeprefix(SVG_NAMESPACE)
        if element.tag == "g":
            element.attrib.pop("id", None)  # not unique on the page
        elif element.tag == "use":
            element.set("href", element.attrib.pop(_HREF))
        elif element.tag == "text":
            element.attrib.pop("transform", None)  # a rotation by 0
    text = ElementTree.tostring(group, encoding="unicode")
    text = re.sub(r"\s+", " ", text).replace("> <", "><")
    text = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text)
    for original, replacement in {**_PAGE_STYLE, **colors}.items():
        text = text.replace(original, replacement)
    return Markup(text)


def _course(
    title: str,
    record: RunRecord,
    entries: Sequence[StepEntry] | Sequence[EpochEntry],
    metric: str,
    form: str,
) -> _Row:
    words = ", ".join(
        f"{label} {metric} from {getattr(entries[0], f'{split}_{metric}'):{form}} "
        f"to {getattr(entries[-1], f'{split}_{metric}'):{form}}"
        for split, label in (("train", "training"), ("validation", "validation"))
    )
    draw = partial(
        draw_curves, record=record, entries=entries, metric=metric, markers=_MOST_MARKERS
    )
    return _Row(title, f"{title}: {words}", draw)


def _epochs_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, max(1, math.ceil(round(axes.dataLim.x1, 6))))


def _with_start(history: History) -> Sequence[EpochEntry]:
    """The epochs, with the accuracies before training as those of an epoch 0."""
    before = history.before.accuracy if history.before is not None else {}
    if not {"train", "validation"} <= before.keys():
        return history.epochs
    start = replace(
        history.epochs[0],
        examples_seen=0,
        train_accuracy=before["train"],
        validation_accuracy=before["validation"],
    )
    return (start, *history.epochs)


def _thinned(entries: Sequence[StepEntry]) -> Sequence[StepEntry]:
    return (*entries[: -1 : math.ceil(len(entries) / _MOST_POINTS)], entries[-1])
