"""Place the labels of points so that they cover neither each other nor the points."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_LETTER = 0.63
"""The width of a letter as a fraction of the font size, rounded up."""


class Box(NamedTuple):
    """A rectangle: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        wide = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        high = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(wide, 0) * max(high, 0)

    def outside(self, frame: Box) -> float:
        """The area of this box outside ``frame``."""
        return self.width * self.height - self.overlap(frame)


class Wish(NamedTuple):
    """A point to label, with possible texts, the preferred one first."""

    x: float
    y: float
    texts: tuple[str, ...]


class Placed(NamedTuple):
    """A label: its text, the start of its baseline, and the end of a line from the point to it."""

    text: str
    x: float
    y: float
    leader: tuple[float, float] | None
    box: Box


def text_width(text: str, size: float) -> float:
    """The approximate width of ``text`` in a font of this size."""
    wide = sum(1.8 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return wide * size * _LETTER


def place(
    wishes: Sequence[Wish], frame: Box, size: float, radius: float, taken: Sequence[Box] = ()
) -> list[Placed]:
    """Label the points one after another: next to the point if there is room, else further away.

    A shorter text next to the point is preferred to a longer one further away. If no place is
    free, the label goes where it covers least.
    """
    points = [Box(w.x - radius, w.y - radius, 2 * radius, 2 * radius) for w in wishes]
    placed: list[Placed] = []
    for wish in wishes:
        covered = [*points, *taken, *(label.box for label in placed)]
        found = [
            pair
            for far in ((0.0,), (11.0, 22.0, 36.0))
            for text in wish.texts
            for pair in _candidates(wish, text, frame, size, radius, covered, far)
        ]
        free = next((label for cost, label in found if cost == 0), None)
        placed.append(free or min(found, key=lambda pair: pair[0])[1])
    return placed


def _candidates(
    wish: Wish,
    text: str,
    frame: Box,
    size: float,
    radius: float,
    covered: Sequence[Box],
    distances: Sequence[float],
) -> list[tuple[float, Placed]]:
    """Possible places around a point, each with the area that the label would cover there."""
    width, gap = text_width(text, size), radius + 3
    found = []
    for far in distances:
        for dx, dy in ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1)):
            reach = gap + far
            x = wish.x + dx * reach - (width if dx < 0 else width / 2 if dx == 0 else 0)
            y = wish.y + dy * (reach + (size / 2 if dx == 0 else 0)) - size / 2
            box = Box(x, y, width, size)
            cost = sum(box.overlap(other) for other in covered) + 3 * box.outside(frame)
            leader = (round(wish.x + dx * (reach - 2), 1), round(y + size / 2 - dy * size / 2, 1))
            label = Placed(
                text, round(x, 1), round(y + size * 0.8, 1), leader if far else None, box
            )
            found.append((round(cost, 3), label))
    return found
