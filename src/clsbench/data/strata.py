"""The split ``stratified``: every class is divided by the same shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

TRAIN, VALIDATION, TEST = range(3)


def stratified(
    labels: Sequence[int], train: float, validation: float
) -> tuple[list[int], list[int], list[int]]:
    """The places of ``labels`` that go to train, validation and test, each in ascending order.

    The first places of a class go to train, the next to validation and the rest to test, so
    ``labels`` should be shuffled. The sizes are those of :func:`class_sizes`; a split that would
    be empty gets texts from the others.
    """
    shares = shares_of(train, validation)
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    sizes = {label: class_sizes(len(found), train, validation) for label, found in places.items()}
    for part in (TEST, VALIDATION):
        if shares[part] and not any(counts[part] for counts in sizes.values()):
            _fill(part, max(1, math.floor(len(labels) * shares[part])), list(sizes.values()))
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label, found in places.items():
        start = 0
        for chosen, count in zip(parts, sizes[label], strict=True):
            chosen += found[start : start + count]
            start += count
    for chosen in parts:
        chosen.sort()
    return parts


def class_sizes(texts: int, train: float, validation: float) -> list[int]:
    """How many of a class's ``texts`` go to train, validation and test.

    Each number differs from its share by less than one. Every class has a training text; a class
    of three or more texts also has a test and a validation text, as far as that rule allows.
    """
    quotas = [texts * share for share in shares_of(train, validation)]
    counts = [math.floor(quota) for quota in quotas]
    # Largest remainder first; of equal remainders, the smaller split.
    by_remainder = sorted(
        range(3), key=lambda part: (counts[part] - quotas[part], quotas[part], part)
    )
    for part in by_remainder[: texts - sum(counts)]:
        counts[part] += 1
    for part, enough in ((TRAIN, 1), (TEST, 3), (VALIDATION, 3)):
        if counts[part] or texts < enough or not quotas[part]:
            continue
        keeps = 0 if part == TRAIN else 1
        able = [p for p in range(3) if counts[p] > keeps and counts[p] >= quotas[p]]
        if able:
            counts[max(able, key=lambda p: counts[p] - quotas[p])] -= 1
            counts[part] += 1
    return counts


def _fill(part: int, wanted: int, sizes: Sequence[list[int]]) -> None:
    """Give an empty split up to ``wanted`` texts, one per class, from train or else the third."""
    for giver in (TRAIN, VALIDATION + TEST - part):
        least = 2 if giver == TRAIN else 1
        most = wanted if giver == TRAIN else min(wanted, sum(c[giver] for c in sizes) - 1)
        able = sorted((c for c in sizes if c[giver] >= least), key=lambda c: -sum(c))
        for counts in able[:most]:
            counts[giver] -= 1
            counts[part] += 1
        if able[:most]:
            return


def shares_of(train: float, validation: float) -> tuple[Fraction, Fraction, Fraction]:
    """The shares as exact decimals: 0.7 is seven tenths."""
    first, second = Fraction(str(train)), Fraction(str(validation))
    return first, second, max(Fraction(0), 1 - first - second)
