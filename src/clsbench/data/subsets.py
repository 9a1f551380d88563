"""Subsets of a training split: of a given size, stratified, and nested."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from clsbench.components.labels import Label, classes_of
from clsbench.components.values import Split, Splits
from clsbench.data.label_strata import ranked_labels
from clsbench.data.labels import named
from clsbench.errors import UsageError


def with_train_size(splits: Splits, size: int | None, seed: int) -> Splits:
    """The splits with ``size`` training texts; ``None`` keeps all.

    The texts are ranked once by ``seed``: first one of each class, then the classes in turn by
    Webster's method, so that every class has its share up to rounding. A subset is the start of
    this ranking, so every smaller subset is contained in every larger one. Its texts stay in the
    order of the training split. With several labels per text, :func:`ranked_labels` ranks them.

    Raises:
        UsageError: ``size`` is larger than the training split, or too small for a text of every
            class in it.
    """
    train = splits.train
    if size is None or size == len(train):
        return splits
    if size > len(train):
        raise UsageError(
            f"data.train_size = {size:,} is larger than the training split of {len(train):,} texts"
        )
    classes = sorted({each for label in train.labels for each in classes_of(label)})
    if splits.multi_label:
        ranked, least = ranked_labels(train.labels, seed, size)
    else:
        ranked, least = _ranked(train.labels, seed), len(classes)
    if size < least and splits.multi_label:
        raise UsageError(
            f"data.train_size = {size} is too small: with this data.split.seed, {least} texts are "
            f"needed for a text with each of the {len(classes)} labels"
        )
    if size < least:
        names = named([splits.class_names[label] for label in classes])
        raise UsageError(
            f"data.train_size = {size} is smaller than the number of classes in the training split "
            f"({len(classes)}: {names}); every class needs a training text"
        )
    places = sorted(ranked[:size])
    subset = Split(
        name=train.name,
        rows=tuple(train.rows[place] for place in places),
        texts=tuple(train.texts[place] for place in places),
        labels=tuple(train.labels[place] for place in places),
    )
    return Splits(
        class_names=splits.class_names,
        train=subset,
        validation=splits.validation,
        test=splits.test,
        multi_label=splits.multi_label,
    )


def _ranked(labels: Sequence[Label], seed: int) -> list[int]:
    """All places of ``labels``, such that every start of the list is stratified."""
    drawn = list(range(len(labels)))
    random.Random(seed).shuffle(drawn)
    counts = Counter(labels)
    taken: Counter[Label] = Counter()
    keys: dict[int, tuple[bool, float]] = {}
    for place in drawn:
        label = labels[place]
        keys[place] = (taken[label] > 0, (2 * taken[label] + 1) / counts[label])
        taken[label] += 1
    return sorted(drawn, key=keys.__getitem__)
