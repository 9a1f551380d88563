"""Training curves and reliability of each row as small drawings on shared axes.

Matplotlib draws all rows of a kind in one figure. Its SVG is split into the axes and the drawing
of each row, so that the page shows each row by itself and contains the axes once.
"""

from __future__ import annotations

import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from msgspec.structs import replace

from clsbench.analysis.calibration import Calibration
from clsbench.report.plots.reliability import draw_reliability
from clsbench.results.curves import (
    SETTINGS,
    TRAIN,
    VALIDATION,
    draw_accuracies,
    draw_losses,
)
from clsbench.schema.record import EpochEntry, History, RunRecord, StepEntry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = TypeVar("Values")

WIDTH, HEIGHT = 208, 132
_FRAME = (34 / WIDTH, 22 / HEIGHT, 166 / WIDTH, 102 / HEIGHT)
_MOST_POINTS, _MOST_MARKERS = 120, 8
_AXES, _ROW = "axes_1", "row-"
_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_FAINT, _LINE = "#a2abb7", "#343b45"
_PAGE_STYLE = {
    TRAIN["color"]: "var(--train)",
    VALIDATION["color"]: "var(--validation)",
    _FAINT: "var(--faint)",
    _LINE: "var(--line)",
    "'DejaVu Sans'": "inherit",
}
"""The page's font and its colors, which differ in light and dark mode, in place of matplotlib's."""

_SETTINGS: dict[str, Any] = SETTINGS | {
    "svg.fonttype": "none",
    "axes.facecolor": "none",
    "axes.grid.axis": "y",
    "font.size": 9.0,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.0,
    "grid.color": _LINE,
    "xtick.labelcolor": _FAINT,
    "ytick.labelcolor": _FAINT,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
}


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
    drawn = []
    for title, record in rows:
        if record.history is not None and (steps := _thinned(record.history.steps)):
            words = (
                f"{title}: training loss from {steps[0].train_loss:.3f} to "
                f"{steps[-1].train_loss:.3f}, validation loss from "
                f"{steps[0].validation_loss:.3f} to {steps[-1].validation_loss:.3f}"
            )
            history = replace(record.history, steps=steps)
            drawn.append((title, words, replace(record, history=history)))

    def finish(axes: Axes) -> None:
        _epochs_axis(axes)
        axes.set_ylim(0, 1.05 * axes.dataLim.y1 or 1)

    return _panels("losses", "Mean cross-entropy (nats)", drawn, draw_losses, finish)


def accuracy_panels(rows: Sequence[tuple[str, RunRecord]]) -> Panels | None:
    """Training and validation accuracy before training and at the ends of epochs."""
    drawn = []
    for title, record in rows:
        if record.history is not None and record.history.epochs:
            epochs = (*_before_training(record.history), *record.history.epochs)
            words = (
                f"{title}: training accuracy from {epochs[0].train_accuracy:.1%} to "
                f"{epochs[-1].train_accuracy:.1%}, validation accuracy from "
                f"{epochs[0].validation_accuracy:.1%} to {epochs[-1].validation_accuracy:.1%}"
            )
            history = replace(record.history, epochs=epochs)
            drawn.append((title, words, replace(record, history=history)))

    def finish(axes: Axes) -> None:
        _epochs_axis(axes)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=None))
        axes.set_ylim(min(axes.dataLim.y0, 0.9) - 0.02, 1)

    return _panels("accuracies", "Accuracy (%)", drawn, draw_accuracies, finish)


def reliability_panels(rows: Sequence[tuple[str, Calibration]], num_classes: int) -> Panels | None:
    """Accuracy over confidence in bins with their intervals."""
    drawn = []
    for title, calibration in rows:
        caption = f"{title} (ECE {calibration.ece:.3f}, Brier {calibration.brier:.3f})"
        bins = (
            f"{b.n:,} answers, {100 * b.confidence:.0f} % sure on average, "
            f"{100 * b.accuracy:.0f} % right"
            for b in calibration.bins
        )
        drawn.append((caption, "; ".join([caption, *bins]), calibration))

    def draw(axes: Axes, calibration: Calibration, markers: int) -> None:
        draw_reliability(axes, calibration, **TRAIN)

    def finish(axes: Axes) -> None:
        lowest = 1 / num_classes
        (diagonal,) = axes.plot([lowest, 1], [lowest, 1], color=_FAINT, linestyle=":", linewidth=1)
        diagonal.set_clip_on(False)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(2))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, symbol=None))
        axes.set_xlim(lowest, 1)
        axes.set_ylim(0, 1)

    return _panels("reliabilities", "", drawn, draw, finish)


def _panels(
    id: str,
    name: str,
    rows: Sequence[tuple[str, str, Values]],
    draw: Callable[[Axes, Values, int], None],
    finish: Callable[[Axes], None],
) -> Panels | None:
    """Draw the title, words and values of each row; ``finish`` sets limits and ticks."""
    if not rows:
        return None
    settings = _SETTINGS | {"svg.hashsalt": id}  # so that ids are unique on the page
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes(_FRAME)
        axes.grid(axis="y", clip_on=False)
        for number, (_, _, values) in enumerate(rows):
            others = set(axes.get_children())
            draw(axes, values, _MOST_MARKERS)
            for artist in set(axes.get_children()) - others:
                artist.set_gid(f"{_ROW}{number}")
                artist.set_clip_on(False)
        finish(axes)
        parts = _split(figure)
    panels = (
        Panel(title, words, parts[f"{_ROW}{number}"])
        for number, (title, words, _) in enumerate(rows)
    )
    return Panels(id, name, parts[_AXES], tuple(panels))


def _split(figure: Figure) -> dict[str, Markup]:
    """The SVG of the artists of each row, and that of all others."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    parts: dict[str, Markup] = defaultdict(Markup)
    for group in next(g for g in root.iter(f"{_SVG}g") if g.get("id") == _AXES):
        name = group.get("id", "")
        parts[name if name.startswith(_ROW) else _AXES] += _inline(group)
    return parts


def _inline(group: ElementTree.Element) -> Markup:
    """The HTML of an SVG group: without namespaces, in the page's colors and font."""
    for element in group.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if element.tag == "g":
            element.attrib.pop("id", None)  # of the whole figure, not unique on the page
        elif element.tag == "use":
            element.set("href", element.attrib.pop(_HREF))
        elif element.tag == "text":
            element.attrib.pop("transform", None)  # a rotation by 0
    text = ElementTree.tostring(group, encoding="unicode")
    text = re.sub(r"(\.\d)\d+", r"\1", re.sub(r"\s+", " ", text)).replace("> <", "><")
    for color, name in _PAGE_STYLE.items():
        text = text.replace(color, name)
    return Markup(text)


def _epochs_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(0, max(1, math.ceil(round(axes.dataLim.x1, 6))))


def _before_training(history: History) -> tuple[EpochEntry, ...]:
    """The accuracies before training as those of an epoch 0."""
    before = history.before
    if before is None or not {"train", "validation"} <= before.accuracy.keys():
        return ()
    entry = replace(
        history.epochs[0],
        epoch=0,
        examples_seen=0,
        train_accuracy=before.accuracy["train"],
        validation_accuracy=before.accuracy["validation"],
    )
    return (entry,)


def _thinned(entries: tuple[StepEntry, ...]) -> tuple[StepEntry, ...]:
    if len(entries) <= _MOST_POINTS:
        return entries
    last = len(entries) - 1
    return tuple(entries[round(i * last / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS))
