from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from clsbench.builtin.baselines import Majority, TfidfLogreg
from clsbench.builtin.sms_spam import COLLECTION, SmsSpam


@pytest.fixture(scope="module")
def book_split(assets_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and test of the book's split, made here with pandas as the book makes it."""
    corpus = SmsSpam().load({COLLECTION.key: assets_dir / COLLECTION.key}, "default")
    table = pd.DataFrame({"text": corpus.texts, "label": corpus.labels})
    ham, spam = table[table.label == 0], table[table.label == 1]
    balanced = pd.concat([ham.sample(len(spam), random_state=123), spam])
    shuffled = balanced.sample(frac=1, random_state=123)
    return shuffled[:1045], shuffled[1194:]


def accuracy(baseline: Majority | TfidfLogreg, train: pd.DataFrame, test: pd.DataFrame) -> float:
    estimator = baseline.build().fit(train.text.tolist(), train.label.tolist())
    return float((estimator.predict(test.text.tolist()) == test.label.to_numpy()).mean())


def test_tfidf_reaches_what_is_known_on_the_real_split(
    book_split: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    assert 0.967 <= accuracy(TfidfLogreg(), *book_split) <= 0.977


def test_the_options_change_the_model(book_split: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train, test = book_split
    texts = test.text.tolist()
    plain, pairs, loose = (
        baseline.build().fit(train.text.tolist(), train.label.tolist()).predict(texts)
        for baseline in (TfidfLogreg(), TfidfLogreg(ngrams=2), TfidfLogreg(c=100.0))
    )
    assert (plain != pairs).any()
    assert (plain != loose).any()


def test_majority_is_the_share_of_the_larger_class(
    book_split: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    train, test = book_split
    most = train.label.mode()[0]
    assert accuracy(Majority(), train, test) == pytest.approx((test.label == most).mean())


def test_majority_prefers_the_first_class_at_a_tie() -> None:
    estimator = Majority().build().fit(["a", "b", "c", "d"], [1, 0, 1, 0])
    assert list(estimator.predict(["x", "y"])) == [0, 0]


@pytest.mark.parametrize(
    ("texts", "labels", "expected"),
    [
        (["a", "b", "a", "b"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["!", "?", "!", "?"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["the", "of", "the", "of"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["", "  ", "\n"], [0, 1, 1], [1, 1, 1]),
        (["one class", "only"], [1, 1], [1, 1]),
    ],
)
def test_tfidf_takes_corpora_without_words(
    texts: list[str], labels: list[int], expected: list[int]
) -> None:
    estimator = TfidfLogreg().build().fit(texts, labels)
    assert list(estimator.predict(texts)) == expected
