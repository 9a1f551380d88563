"""The primary metric against training time: rows, baselines, intervals, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from clsbench.analysis.figures import ACCURACY, MetricInfo
from clsbench.report.page.labels import Box, Placed, Wish, place
from clsbench.report.page.scales import (
    Scale,
    Tick,
    readable_floor,
    spans_a_decade,
    steps,
    time_ticks,
)
from clsbench.report.wording import FOUND, metric_range, metric_text, metric_tick, shortened
from clsbench.schema.quantities import duration_text

_LONGEST_LABEL = 30
_ROOMY = 500
"""In a narrower frame, only the front and the baselines have titles in their labels."""


class ScatterRow(Protocol):
    """A row or baseline to draw; ``score`` is the primary metric.

    ``prefix_found``: it reused cached activations of an earlier run; from scratch it takes longer.
    """

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def baseline(self) -> bool: ...  # noqa: D102
    @property
    def prefix_found(self) -> bool: ...  # noqa: D102


class ScatterPoint(NamedTuple):
    """A point in the drawing; ``below``: its score is beyond the worse end of the axis."""

    x: float
    y: float
    top: float
    bottom: float
    baseline: bool
    on_front: bool
    below: bool
    title: str
    label: Placed


class Scatter(NamedTuple):
    """The drawing in one size; ``summary`` describes the front in words."""

    width: int
    height: int
    frame: Box
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    front: str
    points: tuple[ScatterPoint, ...]
    summary: str
    log: bool


def scatter(
    rows: Sequence[ScatterRow],
    width: int,
    height: int,
    size: float,
    metric: MetricInfo = ACCURACY,
) -> Scatter | None:
    """Draw the rows into ``width`` × ``height`` units with labels of ``size``; ``None`` if none."""
    rows = [row for row in rows if math.isfinite(row.seconds) and math.isfinite(row.score)]
    if not rows:
        return None
    frame = Box(46, 12, width - 62, height - 58)
    log = spans_a_decade([row.seconds for row in rows])
    x, y = _x_scale(rows, frame, log), _y_scale(rows, frame, metric)
    front = pareto(rows, metric)
    points = _points(rows, x, y, front, frame, size, metric)
    x_values = time_ticks(x.low, x.high, width // 60) if log else steps(x.low, x.high, width // 90)
    return Scatter(
        width,
        height,
        frame,
        tuple(Tick(x.at(v), duration_text(v) if v else "0") for v in x_values),
        tuple(Tick(y.at(v), metric_tick(metric, v)) for v in steps(y.low, y.high, height // 55)),
        _staircase([rows[i] for i in front], x, y),
        points,
        _summary([rows[i] for i in front], metric),
        log,
    )


def pareto(rows: Sequence[ScatterRow], metric: MetricInfo = ACCURACY) -> list[int]:
    """The indices of rows that no faster or equally fast row beats, the fastest first.

    Rows that reused cached activations are excluded: their time from scratch is unknown.
    """
    known = [i for i, row in enumerate(rows) if not row.prefix_found]
    order = sorted(known, key=lambda i: (rows[i].seconds, metric.order(rows[i].score)))
    front: list[int] = []
    for i in order:
        if not front or metric.order(rows[i].score) < metric.order(rows[front[-1]].score):
            front.append(i)
    return front


def _x_scale(rows: Sequence[ScatterRow], frame: Box, log: bool) -> Scale:
    low, high = min(r.seconds for r in rows), max(r.seconds for r in rows)
    start, end = frame.x, frame.x + frame.width
    if log:
        return Scale(low / 1.5, high * 1.8, start, end, log=True)
    return Scale(0.0, high * 1.12 or 1.0, start, end)


def _y_scale(rows: Sequence[ScatterRow], frame: Box, metric: MetricInfo) -> Scale:
    floor = readable_floor([metric.sign * row.score for row in rows])
    shown = [row for row in rows if metric.sign * row.score >= floor]
    values = [v for row in shown for v in (row.score, *(row.interval or ()))]
    low, high = min(values), max(values)
    room = (high - low) * 0.04 or 0.01
    low, high = max(low - room, metric.limits[0]), min(high + room, metric.limits[1])
    return Scale(low, high, frame.y + frame.height, frame.y)


def _points(
    rows: Sequence[ScatterRow],
    x: Scale,
    y: Scale,
    front: Sequence[int],
    frame: Box,
    size: float,
    metric: MetricInfo,
) -> tuple[ScatterPoint, ...]:
    # The front and the baselines are labelled first, while most places are free.
    order = sorted(range(len(rows)), key=lambda i: (i not in front, not rows[i].baseline, i))
    roomy = frame.width > _ROOMY
    wishes = [
        Wish(
            x.at(rows[i].seconds),
            y.at(rows[i].score),
            _texts(rows[i], y, roomy or i in front or rows[i].baseline, metric),
        )
        for i in order
    ]
    found = []
    for i, label in zip(order, place(wishes, frame, size, 5), strict=True):
        row = rows[i]
        low, high = row.interval or (row.score, row.score)
        found.append(
            ScatterPoint(
                x.at(row.seconds),
                y.at(row.score),
                y.at(high),
                y.at(low),
                row.baseline,
                i in front,
                _beyond(row, y, metric),
                _words(row, metric),
                label,
            )
        )
    return tuple(found)


def _beyond(row: ScatterRow, y: Scale, metric: MetricInfo) -> bool:
    """Whether the row is beyond the worse end of the axis."""
    return row.score < y.low if metric.better == "higher" else row.score > y.high


def _texts(row: ScatterRow, y: Scale, named: bool, metric: MetricInfo) -> tuple[str, ...]:
    """The label with its title, and as a shorter alternative without."""
    mark = FOUND if row.prefix_found else ""
    full = shortened(f"{row.label} {row.title}".strip(), _LONGEST_LABEL) + mark
    short = row.label + mark if row.label else full
    if _beyond(row, y, metric):
        below = f" {metric_text(metric, row.score)}"
        full, short = full + below, short + below
    return (full, short) if named or not row.label else (short,)


def _words(row: ScatterRow, metric: MetricInfo) -> str:
    name = row.title if row.baseline else f"Row {row.label}, {row.title}"
    interval = f" (95 % interval {metric_range(metric, *row.interval)})" if row.interval else ""
    score = metric_text(metric, row.score)
    return f"{name}: {score}{interval}, {duration_text(row.seconds)}" + (
        ", cached activations reused" if row.prefix_found else ""
    )


def _staircase(front: Sequence[ScatterRow], x: Scale, y: Scale) -> str:
    """The SVG path of the front, a staircase; empty without a front."""
    if not front:
        return ""
    parts = []
    for number, row in enumerate(front):
        parts.append(f"{'H' if number else 'M'}{x.at(row.seconds)}"
                     f"{'V' if number else ' '}{y.at(row.score)}")  # fmt: skip
    return "".join(parts) + f"H{x.end}"


def _summary(front: Sequence[ScatterRow], metric: MetricInfo) -> str:
    return "; ".join(_words(row, metric) for row in front) or "no row"
