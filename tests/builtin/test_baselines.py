from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_examples import make_record
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

import clsbench
from clsbench.builtin import tfidf
from clsbench.builtin.baselines import Majority, TfidfLogreg
from clsbench.builtin.datasets.sms_spam import COLLECTION, SmsSpam
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms
from clsbench.builtin.tfidf import validated_texts
from clsbench.components.values import Corpus, Splits
from clsbench.data.splits import split_corpus
from clsbench.results.baseline_states import read_state, write_states
from clsbench.results.store import StoredRun
from clsbench.schema.experiment import DataSettings, SplitSettings

SEED = 123


def split(corpus: Corpus, name: str) -> Splits:
    return split_corpus(corpus, DataSettings(split=SplitSettings(name=name), balance=True))


@pytest.fixture(scope="module", params=["synthetic", "real"])
def corpus(request: pytest.FixtureRequest) -> Corpus:
    """The embedded corpus, and the real one if it is available."""
    if request.param == "synthetic":
        return SyntheticSms().load({})
    folder = request.getfixturevalue("assets_dir")
    return SmsSpam().load({COLLECTION.key: folder / COLLECTION.key})


def predictions(baseline: clsbench.Baseline, splits: Splits, seed: int = SEED) -> list[int]:
    estimator = baseline.build(seed)
    estimator.fit(list(splits.train.texts), np.array(splits.train.labels))
    return [int(label) for label in estimator.predict(list(splits.test.texts))]


@pytest.mark.parametrize("name", ["book", pytest.param("book-ablation", marks=pytest.mark.slow)])
def test_tfidf_on_sms_is_not_significantly_worse_than_word_features(
    corpus: Corpus, name: str
) -> None:
    splits = split(corpus, name)
    train, test = list(splits.train.texts), list(splits.test.texts)
    words = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    words.fit(train, splits.train.labels)
    labels = np.array(splits.test.labels)
    before = words.predict(test) == labels
    after = np.array(predictions(TfidfLogreg(), splits)) == labels
    only_before, only_after = int((before & ~after).sum()), int((after & ~before).sum())
    p = binomtest(only_after, max(only_before + only_after, 1), alternative="less").pvalue
    assert p > 0.05, f"{only_before} right before alone, {only_after} now alone"
    assert after.mean() >= 0.96


def test_tfidf_options_change_the_predictions() -> None:
    splits = split(SyntheticSms(texts=1500).load({}), "book")
    plain, pairs, strict = (
        predictions(baseline, splits)
        for baseline in (TfidfLogreg(), TfidfLogreg(ngrams=2, c=1.0), TfidfLogreg(c=0.001))
    )
    assert plain != pairs
    assert plain != strict


WORDS = [
    "a",
    "see",
    "you",
    "at",
    "home",
    "late",
    "call",
    "me",
    "free",
    "win",
    "prize",
    "money",
    "go",
]
CHINESE = [chr(0x4E00 + 13 * number) for number in range(300)]


def spoken(draw: random.Random, sign: str) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randint(5, 14))]
    words.insert(draw.randrange(len(words) + 1), sign)
    return " ".join(words)


def emoji(draw: random.Random, label: int) -> str:
    return spoken(draw, "😀😡😴"[label])


def digits(draw: random.Random, label: int) -> str:
    return spoken(draw, "470"[label])


def numbers(draw: random.Random, label: int) -> str:
    others = [draw.choice("25689") for _ in range(6)]
    return spoken(draw, "".join([*others[:3], "470"[label], *others[3:]]))


def punctuation(draw: random.Random, label: int) -> str:
    return spoken(draw, "x") + "!?."[label]


def upper_case(draw: random.Random, label: int) -> str:
    return spoken(draw, "xXx"[label]) + ("" if label < 2 else " yY")


def chinese(draw: random.Random, label: int) -> str:
    letters = [draw.choice(CHINESE) for _ in range(draw.randint(8, 20))]
    letters.insert(draw.randrange(len(letters) + 1), "好坏中"[label])
    return "".join(letters)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", [emoji, digits, numbers, punctuation, upper_case, chinese])
def test_tfidf_learns_from_single_characters(
    kind: Callable[[random.Random, int], str], classes: int
) -> None:
    draw = random.Random(0)
    labels = [number % classes for number in range(360)]
    texts = [kind(draw, label) for label in labels]
    estimator = TfidfLogreg().build(SEED).fit(texts[:120], labels[:120])
    right = estimator.predict(texts[120:]) == np.array(labels[120:])
    assert right.mean() >= 0.97


def test_tfidf_learns_the_same_with_any_number_of_threads() -> None:
    corpus = SyntheticSms(texts=300).load({})
    learned = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            estimator = TfidfLogreg(c=10.0, ngrams=4).build(SEED)
            estimator.fit(corpus.texts, corpus.labels)
            learned.append(estimator.state()["coefficients"])
    assert learned[0].size > 10_000  # BLAS adds up fewer with one thread
    assert np.array_equal(*learned)


@pytest.mark.parametrize(
    ("texts", "labels", "expected"),
    [
        (["a", "b", "a", "b"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["!", "?", "!", "?"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["the", "of", "the", "of"], [0, 1, 0, 1], [0, 1, 0, 1]),
        (["", "  ", "\n"], [0, 1, 1], [1, 1, 1]),
        (["one class", "only"], [1, 1], [1, 1]),
        (["first", "second"], [0, 1], [0, 1]),
        (["red", "blue", "green"], [0, 1, 2], [0, 1, 2]),
        (["red", "red", "red", "blue"], [0, 0, 0, 2], [0, 0, 0, 2]),
        (["", "word"], [1, 0], [1, 0]),
        (["7", "4", "7", "4", "7"], [5, 3, 5, 3, 5], [5, 3, 5, 3, 5]),
    ],
)
@pytest.mark.parametrize("baseline", [TfidfLogreg(), TfidfLogreg(c=10.0)])
def test_tfidf_accepts_small_and_unusual_corpora(
    baseline: TfidfLogreg, texts: list[str], labels: list[int], expected: list[int]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = baseline.build(SEED).fit(texts, labels)
    assert list(estimator.predict(texts)) == expected


def test_tfidf_does_not_warn_if_the_regression_does_not_converge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clsbench.builtin.tfidf._ITERATIONS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TfidfLogreg().build(SEED).fit(["a b", "b c", "c d", "d e", "a c", "b e"] * 3, [0, 1, 2] * 6)


def test_tfidf_many_classes_of_two_texts_does_not_warn() -> None:
    texts = [f"word{number // 2} item{number % 2}" for number in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TfidfLogreg().build(SEED).fit(texts, [number // 2 for number in range(40)])


@pytest.mark.parametrize(
    ("features_per_text", "classes", "texts"),
    [(200, 2, 2_000), (1_000, 2, 2_000), (200, 12, 2_000), (1_000, 20, 500), (1_000, 500, 100)],
)
def test_validated_texts_decrease_with_text_length_and_classes(
    features_per_text: int, classes: int, texts: int
) -> None:
    assert validated_texts(features_per_text, classes) == texts


@pytest.mark.parametrize("classes", [2, 3])
def test_tfidf_probabilities_are_those_of_the_regression(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []

    def recorded(features: Any, labels: Any, c: float) -> LogisticRegression:
        fitted.append(LogisticRegression(C=c).fit(features, labels))
        return fitted[-1]

    monkeypatch.setattr(tfidf, "_fitted", recorded)
    texts = [f"{['red', 'blue', 'green'][n % classes]} {n % 7}" for n in range(40)]
    asked = [*texts, "", "unheard red"]
    estimator = tfidf.TfidfClassifier(1, 1.0, SEED).fit(texts, [n % classes for n in range(40)])
    features = {name: each.transform(asked) for name, each in estimator._groups.items()}
    expected = fitted[-1].predict_proba(tfidf._joined(features, 1.0))
    found = estimator.predict_proba(asked)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.array_equal(found.argmax(axis=1), estimator.predict(asked))


def test_tfidf_without_features_gives_the_shares_of_the_classes() -> None:
    estimator = TfidfLogreg().build(SEED).fit(["", " ", "\n", " "], [0, 1, 1, 1])
    np.testing.assert_allclose(estimator.predict_proba(["a text"]), [[0.25, 0.75]])


@pytest.mark.parametrize("baseline", [Majority(), TfidfLogreg(c=1.0)], ids=str)
def test_baselines_of_label_sets_give_every_label_a_probability(baseline: Any) -> None:
    """Of two labels that vary, one that no text has and one that all have."""
    labels = np.array([[n % 2, n % 4 > 0, 0, 1] for n in range(12)], dtype=np.bool_)
    texts = [f"{['even', 'odd'][n % 2]} {n % 4}" for n in range(12)]
    estimator = baseline.build(SEED).fit(texts, labels)
    found = estimator.predict_proba([*texts, "unheard"])
    assert found.shape == (13, 4)
    assert found[:, 2:].tolist() == [[0.0, 1.0]] * 13
    if isinstance(baseline, Majority):
        assert found[0].tolist() == [0.5, 0.75, 0.0, 1.0]
    else:
        assert np.array_equal(found >= 0.5, estimator.predict([*texts, "unheard"]))


def test_majority_predicts_the_most_frequent_class() -> None:
    settings = DataSettings(split=SplitSettings(name="book"), balance=False)
    splits = split_corpus(SyntheticSms(texts=200).load({}), settings)
    assert predictions(Majority(), splits) == [0] * len(splits.test)


def test_majority_tie_gives_the_first_class() -> None:
    estimator = Majority().build(SEED).fit(["a", "b", "c", "d"], [1, 0, 1, 0])
    assert list(estimator.predict(["x", "y"])) == [0, 0]


@pytest.mark.parametrize(
    "baseline", [Majority(), TfidfLogreg(), TfidfLogreg(c=1.0, ngrams=2)], ids=str
)
@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["win 7 now", "see you", "win 7", "see 好", "win it 7", "you see"], [0, 1, 0, 1, 0, 1]),
        (["red one", "blue two", "green six"] * 3, [0, 1, 2] * 3),
        (["", " "], [1, 0]),
        (["only", "one"], [1, 1]),
        (["a", "b"], [0, 1]),
    ],
)
def test_from_state_restored_baseline_predicts_like_the_fitted_one(
    tmp_path: Path, baseline: clsbench.Baseline, texts: list[str], labels: list[int]
) -> None:
    fitted = baseline.build(SEED).fit(texts, labels)
    write_states(tmp_path, {"baseline": fitted.state()})
    run = StoredRun(tmp_path, make_record())
    restored = baseline.from_state(read_state(run, "baseline").state)
    asked = [*texts, "win", "unheard 7", "", "😀", "SEE", "you see green 好"]
    assert list(restored.predict(asked)) == list(fitted.predict(asked))
