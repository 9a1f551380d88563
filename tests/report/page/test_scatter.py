"""Places, ticks and labels of the drawing of accuracy against time."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.report.page.labels import Box, Wish, place, text_width
from clsbench.report.page.scales import Scale, decades, spans_a_decade, steps
from clsbench.report.page.scatter import pareto, scatter


class DrawnRow(NamedTuple):
    label: str
    title: str
    seconds: float
    test_accuracy: float
    interval: tuple[float, float] | None
    baseline: bool
    prefix_found: bool = False


ROWS = [
    DrawnRow("1", "slow and good", 100.0, 0.97, (0.94, 0.98), False),
    DrawnRow("2", "slow and bad", 120.0, 0.90, (0.86, 0.93), False),
    DrawnRow("", "tfidf-logreg", 0.2, 0.95, (0.92, 0.97), True),
    DrawnRow("", "majority", 0.01, 0.5, (0.44, 0.56), True),
]


def test_the_front_holds_what_nothing_quicker_beats() -> None:
    assert pareto(ROWS) == [3, 2, 0]
    same = [DrawnRow(str(i), "", 1.0, 0.9, None, False) for i in range(3)]
    assert pareto(same) == [0], "equals stand on it once"
    found = ROWS[0]._replace(seconds=0.001, prefix_found=True)
    assert pareto([found, *ROWS]) == [4, 3, 1], "nobody knows what it takes alone"
    alone = scatter([found], 720, 430, 12)
    assert alone is not None
    assert alone.front == ""


def test_a_logarithmic_axis_where_times_lie_far_apart() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    assert drawn.log
    assert {"0.1 s", "1 s", "10 s"} <= {tick.text for tick in drawn.x_ticks}
    near = scatter(ROWS[:2], 720, 430, 12)
    assert near is not None
    assert not near.log
    assert near.x_ticks[0].text == "0"


def test_what_is_far_below_is_marked_and_told() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    below = [point for point in drawn.points if point.below]
    assert [point.label.text for point in below] == ["majority 50.00 %"]
    assert "Row 1, slow and good: 97.00 %" in drawn.summary


def test_every_point_is_inside_and_labels_do_not_overlap() -> None:
    drawn = scatter(ROWS, 720, 430, 12)
    assert drawn is not None
    for point in drawn.points:
        assert drawn.frame.x <= point.x <= drawn.frame.x + drawn.frame.width
        assert drawn.frame.y <= point.y <= drawn.frame.y + drawn.frame.height
    boxes = [point.label.box for point in drawn.points]
    assert all(a.overlap(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])


def test_nothing_to_draw() -> None:
    assert scatter([], 720, 430, 12) is None
    assert scatter([ROWS[0]._replace(seconds=math.nan)], 720, 430, 12) is None
    one = scatter([ROWS[0]._replace(test_accuracy=1.0, interval=None, seconds=0.0)], 720, 430, 12)
    assert one is not None
    assert len(one.points) == 1


places = st.floats(0, 400, allow_nan=False)


@given(st.lists(st.tuples(places, places, st.text("abc", min_size=1, max_size=20)), max_size=21))
def test_every_point_gets_a_label_inside_if_there_is_room(
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
def test_ticks_lie_between_the_ends(low: float, factor: float, most: int) -> None:
    high = low * factor
    for ticks in (steps(low, high, most), decades(low, high, max(most, 5))):
        assert ticks == sorted(ticks)
        assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
    assert len(steps(low, high, most)) <= most + 1


def test_scales() -> None:
    assert Scale(0, 10, 100, 0).at(5) == 50
    assert Scale(0, 10, 0, 100).at(99) == 100, "held at the end"
    assert Scale(1, 100, 0, 100, log=True).at(10) == 50
    assert Scale(3, 3, 0, 100).at(3) == 50
    assert spans_a_decade([1, 11])
    assert not spans_a_decade([0, 11])


def test_wide_letters_take_more_room() -> None:
    assert text_width("漢字", 12) > text_width("ab", 12)
