"""The splits ``group`` and ``time``, in which related texts are not on both sides.

A random split puts texts of one author, or of one day, into training and test. The test accuracy is
then that for known authors and days.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from clsbench.components.labels import Label
from clsbench.data.strata import shares_of
from clsbench.errors import UsageError

Parts = tuple[list[int], list[int], list[int]]
"""The places that go to train, validation and test."""


def split_by_group(
    labels: Sequence[Label], groups: Sequence[str], train: float, validation: float
) -> Parts:
    """Divide whole groups, such that each split has about its share of the texts of each class.

    Groups are assigned one after the other, in the order in which they first occur, so ``labels``
    and ``groups`` should be shuffled. Each goes to the split that lacks most of its classes' texts.
    No split stays empty. The places of a split are in ascending order.

    Raises:
        UsageError: there are fewer than three groups.
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    if len(places) < 3:
        listed = " and ".join(f"{group[:60]!r}" for group in places)
        raise UsageError(
            f"data.split=group requires at least three groups, one for each split; the corpus has "
            f"{len(places)}: {listed}"
        )
    has = _membership(labels)
    counts = has.sum(axis=0)
    wanted = np.outer([float(share) for share in shares_of(train, validation)], counts)
    parts: Parts = ([], [], [])
    for number, found in enumerate(places.values()):
        own = has[found].sum(axis=0)
        lacking = wanted @ (own / counts)
        empty = [part for part in range(3) if not parts[part]]
        able = empty if len(places) - number == len(empty) else range(3)
        chosen = max(able, key=lambda part: lacking[part])
        parts[chosen].extend(found)
        wanted[chosen] -= own
    for part in parts:
        part.sort()
    return parts


def _membership(labels: Sequence[Label]) -> NDArray[np.int64]:
    """Whether each text (N,) has each class that occurs (C,).

    Texts with several labels, or none, have a further class in common, so that all of them count.
    """
    own = [(*label, -1) if isinstance(label, tuple) else (label,) for label in labels]
    columns = {each: n for n, each in enumerate(sorted({c for classes in own for c in classes}))}
    found = np.zeros((len(own), len(columns)), dtype=np.int64)
    for row, classes in zip(found, own, strict=True):
        row[[columns[each] for each in classes]] = 1
    return found


def split_by_time(times: Sequence[float], train: float, validation: float) -> Parts:
    """The oldest places for training, the newest for testing; equal times stay together.

    The cuts are those between different times that are nearest to the shares. Places are in the
    order of their times.

    Raises:
        UsageError: there are fewer than three different times.
    """
    order = sorted(range(len(times)), key=times.__getitem__)
    changes = [
        place
        for place, (before, after) in enumerate(itertools.pairwise(order), 1)
        if times[before] != times[after]
    ]
    if len(changes) < 2:
        raise UsageError(
            "data.split=time requires at least three different times, one for each split; the "
            f"corpus has {len(changes) + 1}"
        )
    shares = shares_of(train, validation)
    first = _nearest(changes[:-1], len(order) * shares[0])
    second = _nearest([c for c in changes if c > first], len(order) * (shares[0] + shares[1]))
    return order[:first], order[first:second], order[second:]


def _nearest(places: Sequence[int], wanted: Fraction) -> int:
    return min(places, key=lambda place: abs(place - wanted))
