"""Splits by group and by time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.data.related_texts import split_by_group, split_by_time
from clsbench.errors import UsageError

rows = st.lists(st.tuples(st.sampled_from([0, 0, 1, 2]), st.integers(0, 8)), max_size=80)


@given(rows)
def test_split_by_group_no_group_is_in_two_splits(rows: list[tuple[int, int]]) -> None:
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    if len(set(groups)) < 3:
        with pytest.raises(UsageError, match="requires at least three groups"):
            split_by_group(labels, groups, 0.7, 0.1)
        return
    parts = split_by_group(labels, groups, 0.7, 0.1)
    assert sorted(place for part in parts for place in part) == list(range(len(rows)))
    assert all(part == sorted(part) != [] for part in parts)
    owners = [{groups[place] for place in part} for part in parts]
    assert sum(map(len, owners)) == len(set(groups))


def test_split_by_group_many_groups_give_each_class_its_shares() -> None:
    labels = [number % 3 == 0 for number in range(1000)]
    groups = [str(number // 5) for number in range(1000)]
    parts = split_by_group([int(label) for label in labels], groups, 0.7, 0.1)
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        for label, count in Counter(labels[place] for place in part).items():
            assert count / labels.count(label) == pytest.approx(share, abs=0.02)


def test_split_by_group_three_groups_are_one_for_each_split() -> None:
    parts = split_by_group([0, 1] * 6, ["a", "a", "b", "b", "c", "c"] * 2, 0.7, 0.1)
    assert sorted(map(len, parts)) == [4, 4, 4]


def test_split_by_group_one_group_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"at least three groups.* the corpus has 1: 'alice'"):
        split_by_group([0, 1], ["alice", "alice"], 0.7, 0.1)


@given(st.lists(st.integers(0, 12), max_size=60))
def test_split_by_time_train_is_older_than_validation_and_test(times: list[int]) -> None:
    if len(set(times)) < 3:
        with pytest.raises(UsageError, match=r"at least three different times"):
            split_by_time(times, 0.7, 0.1)
        return
    parts = split_by_time(times, 0.7, 0.1)
    assert sorted(place for part in parts for place in part) == list(range(len(times)))
    train, validation, test = ([times[place] for place in part] for part in parts)
    assert max(train) < min(validation)
    assert max(validation) < min(test)


def test_split_by_time_different_times_are_cut_at_the_shares() -> None:
    parts = split_by_time(list(range(100))[::-1], 0.7, 0.1)
    assert [len(part) for part in parts] == [70, 10, 20]
    assert parts[0][:2] == [99, 98]


def test_split_by_time_equal_times_stay_together_at_the_nearest_cut() -> None:
    times = [1] * 66 + [2] * 10 + [3] * 4 + [4] * 20
    assert [len(part) for part in split_by_time(times, 0.7, 0.1)] == [66, 14, 20]
