"""Divide and rank texts with several labels each, so that every label keeps its share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from clsbench.components.labels import Label, classes_of
from clsbench.data.strata import shares_of

_ANY = -1
"""Stands for a label that every text has, which keeps the sizes of the splits."""


def stratified_labels(
    labels: Sequence[Label], train: float, validation: float
) -> tuple[list[int], list[int], list[int]]:
    """The places of ``labels`` that go to train, validation and test, each in ascending order.

    The texts of the rarest label are divided first: each goes to the split that lacks most texts of
    this label, of equal ones to that which lacks most texts. Texts without labels come last. So
    ``labels`` should be shuffled.

    Source: Sechidis et al., *On the Stratification of Multi-Label Data*, 2011 (iterative
    stratification).
    """
    own = [(*classes_of(label), _ANY) for label in labels]
    left = Counter(each for classes in own for each in classes)
    lacking = [
        {each: float(share) * count for each, count in left.items()}
        for share in shares_of(train, validation)
    ]
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    open_places = dict.fromkeys(range(len(labels)))
    while open_places:
        rarest = min((each for each in left if left[each]), key=lambda each: (left[each], -each))
        for place in [place for place in open_places if rarest in own[place]]:
            chosen = max(range(3), key=lambda n: (lacking[n][rarest], lacking[n][_ANY]))
            parts[chosen].append(place)
            del open_places[place]
            for each in own[place]:
                left[each] -= 1
                lacking[chosen][each] -= 1
    for part in parts:
        part.sort()
    return parts


def ranked_labels(labels: Sequence[Label], seed: int) -> tuple[list[int], int]:
    """All places in random order, but first those that add a label; and the number of these."""
    drawn = list(range(len(labels)))
    random.Random(seed).shuffle(drawn)
    seen: set[int] = set()
    first: list[int] = []
    rest: list[int] = []
    for place in drawn:
        new = not seen.issuperset(classes_of(labels[place]))
        (first if new else rest).append(place)
        seen.update(classes_of(labels[place]))
    return [*first, *rest], len(first)
