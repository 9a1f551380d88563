"""Stratified splits and rankings of texts with several labels each."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from clsbench.components.labels import Label
from clsbench.data.label_strata import ranked_labels, stratified_labels

label_sets = st.lists(
    st.sets(st.integers(0, 3)).map(lambda found: tuple(sorted(found))), min_size=3, max_size=80
)


@given(label_sets)
def test_stratified_labels_divides_every_text_once_by_the_shares(labels: list[Label]) -> None:
    parts = stratified_labels(labels, 0.7, 0.1)
    assert sorted(place for part in parts for place in part) == list(range(len(labels)))
    assert [part == sorted(part) for part in parts] == [True] * 3
    # Each label may move a text, since the rarest is divided first.
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(labels)) <= 5


def test_stratified_labels_gives_every_split_its_share_of_a_rare_label() -> None:
    generator = random.Random(1)
    labels: list[Label] = [
        tuple(n for n, share in enumerate((0.5, 0.3, 0.04)) if generator.random() < share)
        for _ in range(1000)
    ]
    rare = sum(2 in label for label in labels if isinstance(label, tuple))
    for part, share in zip(stratified_labels(labels, 0.7, 0.1), (0.7, 0.1, 0.2), strict=True):
        found = sum(2 in label for place in part if isinstance(label := labels[place], tuple))
        assert abs(found - share * rare) < 1


@given(label_sets, st.integers(0, 2**32 - 1))
def test_ranked_labels_begins_with_a_text_of_every_label(labels: list[Label], seed: int) -> None:
    order, least = ranked_labels(labels, seed)
    assert sorted(order) == list(range(len(labels)))

    def covered(places: list[int]) -> set[int]:
        found = [labels[place] for place in places]
        return {each for label in found if isinstance(label, tuple) for each in label}

    assert covered(order[:least]) == covered(order)
    assert covered(order[: max(least - 1, 0)]) < covered(order) or not least
