"""Splits of texts with any number of labels."""

from __future__ import annotations

from typing import Any

import pytest

from clsbench.components.labels import Label
from clsbench.components.values import Corpus, Splits
from clsbench.data.splits import dropped_texts, split_corpus
from clsbench.data.subsets import with_train_size
from clsbench.errors import UsageError
from clsbench.schema.experiment import DataSettings, SplitName, SplitSettings

LABELS: list[Label] = [(0,), (0, 1), (), (1,), (0, 2), (2,), (), (0, 1, 2), (1, 2), (0,)] * 3


def corpus(labels: list[Label], **fields: Any) -> Corpus:
    texts = [f"text {number}" for number in range(len(labels))]
    names = ("a", "b", "c")
    return Corpus(class_names=names, texts=texts, labels=labels, multi_label=True, **fields)


def split(given: Corpus, name: SplitName) -> Splits:
    return split_corpus(given, DataSettings(balance=False, split=SplitSettings(name=name)))


@pytest.mark.parametrize("name", ["stratified", "book", "group", "time", "predefined"])
def test_split_corpus_of_label_sets_uses_every_text_once(name: SplitName) -> None:
    given = corpus(
        LABELS,
        groups=[str(number // 3) for number in range(len(LABELS))],
        times=[float(number) for number in range(len(LABELS))],
        splits=["test" if number % 5 == 0 else "train" for number in range(len(LABELS))],
    )
    found = split(given, name)
    assert found.multi_label
    rows = [row for each in found.all() for row in each.rows]
    assert sorted(rows) == list(range(len(LABELS)))
    assert all(LABELS[row] == label for each in found.all()
               for row, label in zip(each.rows, each.labels, strict=True))  # fmt: skip
    assert dropped_texts(given, found) == {}


def test_split_corpus_predefined_label_without_training_text_is_named() -> None:
    labels: list[Label] = [(0,), (0, 1), (), (2,)]
    with pytest.raises(UsageError, match=r"the train split .* has no text of class 'c'"):
        split(corpus(labels, splits=["train", "train", "validation", "test"]), "predefined")


def test_with_train_size_of_label_sets_is_nested_and_has_every_label() -> None:
    whole = split(corpus(LABELS), "stratified")
    smaller: set[int] = set()
    for size in range(3, len(whole.train) + 1):
        train = with_train_size(whole, size, seed=1).train
        assert len(train) == size
        assert smaller < set(train.rows)
        assert {each for label in train.labels if isinstance(label, tuple) for each in label} == {
            *(0, 1, 2)
        }
        smaller = set(train.rows)
