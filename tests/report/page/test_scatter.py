"""Positions, ticks and labels of the plot of accuracy against time."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.report.page.labels import Box, Wish, place, text_width
from clsbench.report.page.scales import Scale, spans_a_decade, steps, time_ticks
from clsbench.report.page.scatter import pareto, scatter
from clsbench.schema.quantities import duration_text


class DrawnRow(NamedTuple):
    label: str
    title: str
    seconds: float
    score: float
    interval: tuple[float, float] | None
    baseline: bool
    prefix_found: bool = False


ROWS = [
    DrawnRow("1", "slow and good", 100.0, 0.97, (0.94, 0.98), False),
    DrawnRow("2", "slow and bad", 120.0, 0.90, (0.86, 0.93), False),
    DrawnRow("", "tfidf-logreg", 0.2, 0.95, (0.92, 0.97), True),
    DrawnRow("", "majority", 0.01, 0.5, (0.44, 0.56), True),
]


def test_pareto_has_the_rows_that_no_faster_row_beats() -> None:
    assert pareto(ROWS) == [3, 2, 0]
    same = [DrawnRow(str(i), "", 1.0, 0.9, None, False) for i in range(3)]
    assert pareto(same) == [0], "of equal rows, one"
    found = ROWS[0]._replace(seconds=0.001, prefix_found=True)
    assert pareto([found, *ROWS]) == [4, 3, 1], "its time from scratch is unknown"
    alone = scatter([found], 720, 430, 12)
    assert alone is not None
    assert alone.front == ""


def test_scatter_time_axis_over_a_decade_is_logarithmic() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    assert drawn.log
    assert {"0.1 s", "1 s", "10 s"} <= {tick.text for tick in drawn.x_ticks}
    near = scatter(ROWS[:2], 720, 430, 12)
    assert near is not None
    assert not near.log
    assert near.x_ticks[0].text == "0"


def test_scatter_point_below_the_axis_has_its_accuracy_in_the_label() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    below = [point for point in drawn.points if point.below]
    assert [point.label.text for point in below] == ["majority 50.00 %"]
    assert "Row 1, slow and good: 97.00 %" in drawn.summary


def test_scatter_points_are_inside_and_labels_do_not_overlap() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    for point in drawn.points:
        assert drawn.frame.x <= point.x <= drawn.frame.x + drawn.frame.width
        assert drawn.frame.y <= point.y <= drawn.frame.y + drawn.frame.height
    boxes = [point.label.box for point in drawn.points]
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])


def test_scatter_without_finite_values_is_none() -> None:
    assert scatter([], 720, 430, 12) is None
    assert scatter([ROWS[0]._replace(seconds=math.nan)], 720, 430, 12) is None
    one = scatter([ROWS[0]._replace(score=1.0, interval=None, seconds=0.0)], 720, 430, 12)
    assert one is not None
    assert len(one.points) == 1


places = st.floats(0, 400, allow_nan=False)


@given(st.lists(st.tuples(places, places, st.text("abc", min_size=1, max_size=20)), max_size=21))
def test_place_labels_every_point(
    points: list[tuple[float, float, str]],
) -> None:
    wishes = [Wish(x, y, (text, text[0])) for x, y, text in points]
    frame = Box(0, 0, 400, 400)
    placed = place(wishes, frame, 12, 5)
    assert len(placed) == len(wishes)
    if len(wishes) == 1:
        assert placed[0].box.outside(frame) == pytest.approx(0, abs=1e-6)
    for label, wish in zip(placed, wishes, strict=True):
        assert label.text in wish.texts


@given(st.floats(1e-3, 1e6), st.floats(1.001, 1e6), st.integers(2, 12))
def test_ticks_are_between_the_ends(low: float, factor: float, most: int) -> None:
    high = low * factor
    for ticks in (steps(low, high, most), time_ticks(low, high, max(most, 5))):
        assert ticks == sorted(ticks)
        assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
    assert len(steps(low, high, most)) <= most + 1


def test_time_ticks_are_round_in_seconds_minutes_and_hours() -> None:
    ticks = [duration_text(tick) for tick in time_ticks(4, 4000, 12)]
    assert ticks == ["5 s", "10 s", "20 s", "60 s", "2 min", "5 min", "10 min", "20 min", "1 h"]


def test_scale_maps_and_clips_values() -> None:
    assert Scale(0, 10, 100, 0).at(5) == 50
    assert Scale(0, 10, 0, 100).at(99) == 100, "clipped to the end"
    assert Scale(1, 100, 0, 100, log=True).at(10) == 50
    assert Scale(3, 3, 0, 100).at(3) == 50
    assert spans_a_decade([1, 11])
    assert not spans_a_decade([0, 11])


def test_text_width_of_wide_letters_is_larger() -> None:
    assert text_width("漢字", 12) > text_width("ab", 12)
