"""Balancing and splitting: the book's rows, and properties of any corpus."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clsbench.builtin.datasets.sms_spam import SmsSpam
from clsbench.components.values import Corpus
from clsbench.data.splits import (
    count_leaked,
    dropped_texts,
    leaked,
    split_corpus,
    split_warnings,
    splits_sha256,
    texts_sha256,
)
from clsbench.errors import UsageError
from clsbench.schema.experiment import DataSettings, SplitSettings

GOLDEN = {
    "book": "9789031706043680da71ffa7de31591690c3a73630649caa62ca6015990b0947",
    "book-ablation": "c13ea29b9a887b220f19a47a7173d3af6da962b64dbc0f643cbc0dba66c1d3dc",
}
"""Hashes of the three splits of the real corpus: rows, labels and texts in order."""


def settings(name: str = "book", balance: bool = True, **split: float) -> DataSettings:
    chosen = SplitSettings(name=name, **split)  # type: ignore[arg-type]
    return DataSettings(split=chosen, balance=balance)


@pytest.fixture(scope="module")
def corpus(assets_dir: Path) -> Corpus:
    key = "sms-spam/SMSSpamCollection"
    return SmsSpam().load({key: assets_dir / key})


@pytest.mark.parametrize("name", ["book", "book-ablation"])
def test_split_corpus_real_corpus_has_the_recorded_hash(corpus: Corpus, name: str) -> None:
    splits = split_corpus(corpus, settings(name))
    assert [len(split) for split in splits.all()] == [1045, 149, 300]
    assert splits_sha256(splits) == GOLDEN[name]


def test_split_corpus_book_variants_share_66_test_texts(corpus: Corpus) -> None:
    book, ablation = (split_corpus(corpus, settings(n)) for n in ("book", "book-ablation"))
    assert len(set(book.test.texts) & set(ablation.test.texts)) == 66


def test_count_leaked_of_the_book_split_equals_recorded_counts(corpus: Corpus) -> None:
    flags = leaked(split_corpus(corpus, settings()))
    counts = count_leaked(flags)
    assert (counts.validation, counts.test) == (13, 37)


NAMES = ["stratified", "book", "book-ablation"]

corpora = st.lists(st.integers(1, 40), min_size=3, max_size=3).map(
    lambda counts: [
        (f"text {label} {i}", label) for label, n in enumerate(counts) for i in range(n)
    ]
)


@given(corpora, st.booleans(), st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_split_corpus_any_split_is_a_partition_of_the_balanced_corpus(
    rows: list[tuple[str, int]], balance: bool, name: str, seed: int
) -> None:
    corpus = Corpus(
        class_names=("a", "b", "c"),
        texts=[text for text, _ in rows],
        labels=[label for _, label in rows],
    )
    chosen = settings(name, balance, train=0.5, validation=0.25, seed=seed)
    try:
        splits = split_corpus(corpus, chosen)
    except UsageError:  # a small split may lack a class
        with pytest.raises(UsageError, match="has no text"):
            split_corpus(corpus, chosen)
        return
    used = [row for split in splits.all() for row in split.rows]
    assert len(used) == len(set(used))
    counts = Counter(label for split in splits.all() for label in split.labels)
    original = Counter(corpus.labels)
    assert counts == (dict.fromkeys(counts, min(original.values())) if balance else original)
    dropped = {"abc"[label]: n - counts[label] for label, n in original.items()}
    assert dropped_texts(corpus, splits) == {name: n for name, n in dropped.items() if n}
    for split in splits.all():
        assert list(split.texts) == [corpus.texts[row] for row in split.rows]
        assert list(split.labels) == [corpus.labels[row] for row in split.rows]


def test_split_corpus_depends_on_the_split_seed(corpus: Corpus) -> None:
    first, again, other = (
        splits_sha256(split_corpus(corpus, settings(seed=seed))) for seed in (123, 123, 124)
    )
    assert first == again != other


def test_texts_sha256_depends_only_on_texts_and_classes() -> None:
    def corpus_of(texts: list[str], parts: list[str]) -> dict[str, str]:
        labels = [i % 2 for i in range(len(texts))]
        corpus = Corpus(class_names=("a", "b"), texts=texts, labels=labels, splits=parts)
        chosen = settings("predefined", balance=False, validation=0.2)
        return texts_sha256(split_corpus(corpus, chosen))

    texts = [f"text {i}" for i in range(40)]
    parts = ["train"] * 30 + ["test"] * 10
    before = corpus_of(texts, parts)
    edited = corpus_of(["another", *texts[1:]], parts)
    assert edited["test"] == before["test"]
    assert {edited["train"], edited["validation"]} != {before["train"], before["validation"]}
    moved = corpus_of([*texts[30:], *texts[:30]], [*parts[30:], *parts[:30]])
    assert moved["test"] == before["test"]
    assert corpus_of([*texts[:39], "another"], parts)["test"] != before["test"]


def test_leaked_pair_is_equal_only_if_both_texts_are() -> None:
    pairs = Corpus(
        class_names=("no", "yes"),
        texts=["a", "b", "a", "a", "b"],
        text_pairs=["x", "y", "y", "x", "y"],
        labels=[0, 1, 0, 1, 1],
        splits=["train", "train", "validation", "test", "test"],
    )
    splits = split_corpus(pairs, settings("predefined", balance=False))
    assert set(splits.train.texts) == {("a", "x"), ("b", "y")}
    assert leaked(splits) == {"validation": [False], "test": [True, True]}
    alone = split_corpus(replace(pairs, text_pairs=None), settings("predefined", balance=False))
    assert leaked(alone) == {"validation": [True], "test": [True, True]}
    other = replace(pairs, text_pairs=["x", "y", "y", "x", "z"])
    changed = split_corpus(other, settings("predefined", balance=False))
    assert len({splits_sha256(each) for each in (splits, alone, changed)}) == 3
    assert texts_sha256(splits)["test"] != texts_sha256(changed)["test"]


def predefined(splits: list[str] | None) -> Corpus:
    n = 40
    return Corpus(
        class_names=("a", "b"),
        texts=[f"text {i}" for i in range(n)],
        labels=[i % 2 for i in range(n)],
        splits=splits,
    )


def test_split_corpus_predefined_test_is_kept_validation_cut_from_train() -> None:
    corpus = predefined(["train"] * 30 + ["test"] * 10)
    splits = split_corpus(corpus, settings("predefined", validation=0.2))
    assert sorted(splits.test.rows) == list(range(30, 40))
    assert len(splits.validation) == 6
    assert sorted(splits.train.rows + splits.validation.rows) == list(range(30))


def test_split_corpus_predefined_validation_split_is_used() -> None:
    corpus = predefined(["train"] * 20 + ["validation"] * 10 + ["test"] * 10)
    splits = split_corpus(corpus, settings("predefined"))
    assert sorted(splits.validation.rows) == list(range(20, 30))


def test_split_corpus_predefined_without_splits_in_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="without predefined splits"):
        split_corpus(predefined(None), settings("predefined"))


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0] * 40, "two classes"),
        ([], "two classes"),
        ([0] * 39 + [1], "the train split .* has no text of class 'b': use data.split=stratified"),
    ],
)
def test_split_corpus_too_few_classes_or_texts_is_refused(labels: list[int], match: str) -> None:
    corpus = Corpus(class_names=("a", "b"), texts=["x"] * len(labels), labels=labels)
    with pytest.raises(UsageError, match=match):
        split_corpus(corpus, settings(balance=False, seed=2))


def test_split_corpus_empty_test_split_is_refused() -> None:
    with pytest.raises(UsageError, match="test split"):
        split_corpus(predefined(None), settings(train=0.8, validation=0.2))


@pytest.mark.parametrize("name", ["book", "book-ablation", "predefined"])
def test_split_corpus_missing_class_advice_is_valid(name: str) -> None:
    corpus = Corpus(
        class_names=("a", "b", "c"),
        texts=[f"text {i}" for i in range(60)],
        labels=[i % 2 for i in range(59)] + [2],
        splits=["train"] * 30 + ["validation"] * 10 + ["test"] * 20,
    )
    seed = {"book": 1, "book-ablation": 3}.get(name, 1)
    with pytest.raises(UsageError, match=r"train .* class 'c'.*data\.split=stratified") as refusal:
        split_corpus(corpus, settings(name, balance=False, seed=seed))
    assert ("data.split.train" in str(refusal.value)) == (name != "predefined")
    chosen = settings("stratified", balance=False)
    splits = split_corpus(corpus, chosen)
    warnings = split_warnings(splits, corpus, chosen)
    assert warnings == [
        f"the {which} split ({n} texts) lacks class 'c': too few texts"
        for which, n in (("validation", 6), ("test", 12))
    ]


@pytest.mark.parametrize("seed", range(20))
def test_split_corpus_stratified_divides_twelve_classes_evenly(seed: int) -> None:
    corpus = Corpus(
        class_names=tuple(f"class {n}" for n in range(12)),
        texts=[f"text {i}" for i in range(240)],
        labels=[i % 12 for i in range(240)],
    )
    chosen = settings("stratified", balance=False, seed=seed)
    splits = split_corpus(corpus, chosen)
    assert [Counter(split.labels) for split in splits.all()] == [
        dict.fromkeys(range(12), n) for n in (14, 2, 4)
    ]
    assert list(splits.train.labels) != sorted(splits.train.labels)
    assert split_warnings(splits, corpus, chosen) == []
    assert splits == split_corpus(corpus, chosen)


@pytest.mark.parametrize("balance", [False, True])
def test_split_corpus_stratified_ignores_the_order_of_class_names(balance: bool) -> None:
    labels = [i % 2 + (i % 7 == 0) for i in range(100)]
    texts = [f"text {i}" for i in range(100)]
    one = Corpus(class_names=("a", "b", "c"), texts=texts, labels=labels)
    other = Corpus(class_names=("c", "b", "a"), texts=texts, labels=[2 - n for n in labels])
    chosen = settings("stratified", balance)
    assert [split.rows for split in split_corpus(one, chosen).all()] == [
        split.rows for split in split_corpus(other, chosen).all()
    ]


def test_split_corpus_settings_without_a_split_name_are_refused() -> None:
    with pytest.raises(ValueError, match="resolve the spec first"):
        split_corpus(predefined(None), DataSettings())


def test_split_corpus_predefined_validation_leaves_all_classes_in_train() -> None:
    names = ["train"] * 40 + ["test"] * 10
    labels = [i % 2 for i in range(38)] + [2, 3] + [i % 4 for i in range(10)]
    corpus = Corpus(
        class_names=("a", "b", "c", "d"),
        texts=[f"text {i}" for i in range(50)],
        labels=labels,
        splits=names,
    )
    for seed in range(10):
        chosen = settings("predefined", balance=False, validation=0.5, seed=seed)
        splits = split_corpus(corpus, chosen)
        assert len(splits.validation) == 20
        assert set(splits.train.labels) == {0, 1, 2, 3}
        (warning,) = split_warnings(splits, corpus, chosen)
        assert warning.startswith(
            "the validation split (20 texts) lacks the classes 'c', 'd': it is"
        )


@pytest.mark.parametrize(
    ("sizes", "only_a", "said"),
    [
        ((80, 0, 10), "test", "test .* class 'b': .* correct those, or use data.split=stratified"),
        ((20, 10, 10), "validation", "validation .* class 'b': .* uses the splits of the corpus"),
    ],
)
def test_split_warnings_predefined_split_without_a_class_is_reported(
    sizes: tuple[int, int, int], only_a: str, said: str
) -> None:
    train, validation, test = sizes
    names = ["train"] * train + ["validation"] * validation + ["test"] * test
    corpus = Corpus(
        class_names=("a", "b"),
        texts=[f"text {i}" for i in range(len(names))],
        labels=[0 if name == only_a else i % 2 for i, name in enumerate(names)],
        splits=names,
    )
    chosen = settings("predefined", balance=False)
    (warning,) = split_warnings(split_corpus(corpus, chosen), corpus, chosen)
    assert re.search(said, warning)
    assert "data.split.train" not in warning


def test_split_corpus_empty_predefined_validation_is_refused_with_advice() -> None:
    corpus = predefined(["train"] * 6 + ["test"] * 34)
    with pytest.raises(UsageError, match="taken from the corpus's training split; use a larger"):
        split_corpus(corpus, settings("predefined", balance=False))


def test_split_warnings_balancing_to_a_very_rare_class_is_reported() -> None:
    corpus = Corpus(
        class_names=("a", "b", "tiny"),
        texts=[f"text {i}" for i in range(124)],
        labels=[0] * 60 + [1] * 60 + [2] * 4,
    )
    chosen = settings("stratified")
    splits = split_corpus(corpus, chosen)
    assert dropped_texts(corpus, splits) == {"a": 56, "b": 56}
    (warning,) = split_warnings(splits, corpus, chosen)
    assert "cuts every class to the size of 'tiny', which has 4 of 124 texts" in warning


def test_split_corpus_long_class_names_are_truncated_in_errors() -> None:
    names = ("a" * 5000, "b" * 5000, "c" * 5000)
    labels = [i % 2 for i in range(59)] + [2]
    corpus = Corpus(class_names=names, texts=["x"] * 60, labels=labels)
    with pytest.raises(UsageError, match="no text of class 'ccc") as refusal:
        split_corpus(corpus, settings(balance=False, seed=1))
    assert len(str(refusal.value)) < 500
    chosen = settings("stratified", balance=False)
    warnings = split_warnings(split_corpus(corpus, chosen), corpus, chosen)
    assert len(warnings) == 2
    assert all(len(warning) < 500 for warning in warnings)


def related(**fields: object) -> Corpus:
    labels = [number % 2 for number in range(60)]
    return Corpus(
        class_names=("a", "b"),
        texts=[f"text {number}" for number in range(60)],
        labels=labels,
        **fields,  # type: ignore[arg-type]
    )


def test_split_corpus_group_depends_on_the_split_seed_and_keeps_groups_together() -> None:
    groups = [f"user {number // 4}" for number in range(60)]
    corpus = related(groups=groups)
    found = [split_corpus(corpus, settings("group", balance=False, seed=s)) for s in (1, 1, 2)]
    hashes = [splits_sha256(splits) for splits in found]
    assert hashes[0] == hashes[1] != hashes[2]
    for splits in found:
        owners = [{groups[row] for row in split.rows} for split in splits.all()]
        assert sum(map(len, owners)) == 15
        assert split_warnings(splits, corpus, settings("group", balance=False)) == []


def test_split_corpus_time_puts_the_newest_texts_into_test() -> None:
    corpus = related(times=[float(-number) for number in range(60)])
    first, other = (
        split_corpus(corpus, settings("time", balance=False, seed=seed)) for seed in (1, 2)
    )
    assert first == other
    assert first.test.rows == tuple(range(11, -1, -1))
    assert first.validation.rows == tuple(range(17, 11, -1))
    assert len(first.train) == 42


@pytest.mark.parametrize("name", ["group", "time"])
def test_split_corpus_without_groups_or_times_is_refused_with_advice(name: str) -> None:
    with pytest.raises(UsageError, match=rf"this data set has no {name}s; .*csv:path=…,{name}="):
        split_corpus(related(), settings(name))


@pytest.mark.parametrize(("name", "said"), [
    ("group", "data.split=group keeps the texts of a group together; try another data.split.seed"),
    ("time", "data.split=time puts the oldest texts into train"),
])  # fmt: skip
def test_split_corpus_class_without_training_texts_is_refused_with_advice(
    name: str, said: str
) -> None:
    corpus = Corpus(
        class_names=("a", "b"),
        texts=list("uvwxyz"),
        labels=[0, 0, 0, 0, 1, 1],
        groups=["1", "2", "2", "2", "3", "3"],
        times=[1, 2, 3, 4, 5, 6],
    )
    with pytest.raises(UsageError, match=rf"the train split .* has no text of class '.': {said}"):
        split_corpus(corpus, settings(name, balance=False))


def test_split_warnings_large_group_that_unbalances_the_splits_is_reported() -> None:
    corpus = related(groups=["crowd"] * 54 + ["x"] * 3 + ["y"] * 3)
    chosen = settings("group", balance=False)
    (warning, *_) = split_warnings(split_corpus(corpus, chosen), corpus, chosen)
    assert "train has 90% instead of 70%" in warning
    assert warning.endswith("of the texts, because texts of a group stay together")


def test_split_warnings_groups_that_another_split_divides_are_counted() -> None:
    groups, splits = ["x", *"abcd" * 14, *"xyz"], ["train"] * 50 + ["validation"] * 7 + ["test"] * 3
    chosen, corpus = settings("predefined", balance=False), related(groups=groups, splits=splits)
    (warning,) = split_warnings(split_corpus(corpus, chosen), corpus, chosen)
    assert warning.startswith("7 of 7 validation and 1 of 3 test texts are of groups that have")
    assert "data.split=predefined does not keep groups together" in warning
