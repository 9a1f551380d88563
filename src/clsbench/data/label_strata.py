"""Divide and rank texts with several labels each, so that every label keeps its share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from clsbench.components.labels import Label, classes_of, label_array
from clsbench.data.strata import shares_of

_STEPS = 1024
"""Sums of squares are rounded to this part of 1."""

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


def ranked_labels(labels: Sequence[Label], seed: int, size: int) -> tuple[list[int], int]:
    """The first places of a ranking of which every start is stratified, and the number of places
    from which on every label occurs; at least ``size`` places and that number.

    Each next text keeps the labels as close to their shares as possible: it has the least sum of
    d² / (p (1 - p)) over the labels, if a label with share p has d texts more or fewer than its
    share, plus the sum of d² over the combinations of labels. The first texts each add a label.
    ``seed`` decides between texts with the same labels, and between equal sums.
    """
    import numpy as np

    drawn = list(range(len(labels)))
    random.Random(seed).shuffle(drawn)
    places: dict[Label, list[int]] = {}
    for place in drawn:
        places.setdefault(labels[place], []).append(place)
    combinations = list(places)
    num_classes = 1 + max((each for label in places for each in classes_of(label)), default=0)
    has = label_array(combinations, num_classes).astype(np.float64)  # (combinations, classes)
    texts = np.array([len(places[label]) for label in combinations])
    shares, own_shares = texts @ has / len(labels), texts / len(labels)
    varied = (shares > 0) & (shares < 1)
    weights = np.divide(1, shares * (1 - shares), out=np.zeros_like(shares), where=varied)
    taken, found = np.zeros_like(texts), np.zeros(num_classes)  # by combination, by label
    ranked: list[int] = []
    least = 0
    while (lacks := (shares > 0) & (found == 0)).any() or len(ranked) < size:
        least += int(lacks.any())
        # By how much each sum would grow. Integers add up to the same result on every machine.
        number = len(ranked) + 1
        of_labels = np.rint(_STEPS * weights * (2 * (found - number * shares) + 1))
        growth = has @ of_labels + np.rint(_STEPS * (2 * (taken - number * own_shares) + 1))
        allowed = (taken < texts) & (has @ lacks > 0 if lacks.any() else True)
        chosen = int(np.where(allowed, growth, np.inf).argmin())
        ranked.append(places[combinations[chosen]][taken[chosen]])
        taken[chosen] += 1
        found += has[chosen]
    return ranked, least
