"""The stand-in corpus: the same everywhere, like a real inbox, and no walkover."""

from __future__ import annotations

import hashlib
import itertools
import random
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import clsbench
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms, clsbench_register_datasets
from clsbench.builtin.datasets.synthetic_sms.expansion import Grammar
from clsbench.builtin.datasets.synthetic_sms.grammar import LONGEST_TEXT_CHARACTERS, Messenger

GOLDEN_SHA256 = "694164e7f5916a89388d007502863a2694046bfc45a76f9bc7a52ca3898659d3"


@pytest.fixture(scope="module")
def corpus() -> clsbench.Corpus:
    return SyntheticSms().load({}, "default")


def test_corpus_never_changes(corpus: clsbench.Corpus) -> None:
    lines = "".join(
        f"{label}\t{text}\n" for label, text in zip(corpus.labels, corpus.texts, strict=True)
    )
    assert hashlib.sha256(lines.encode()).hexdigest() == GOLDEN_SHA256


def test_corpus_is_registered_and_needs_nothing() -> None:
    assert clsbench_register_datasets() == {"synthetic-sms": SyntheticSms}
    assert SyntheticSms().assets() == ()
    assert SyntheticSms().stand_in() is None


def test_proportions_are_those_of_the_real_corpus(corpus: clsbench.Corpus) -> None:
    assert corpus.class_names == ("ham", "spam")
    assert len(corpus.texts) == len(corpus.labels) == 5572
    assert sum(corpus.labels) == 747
    # Both classes are found everywhere in the file, as in the real one.
    fifths = [sum(corpus.labels[start : start + 1114]) for start in range(0, 5570, 1114)]
    assert min(fifths) > 100


@pytest.mark.parametrize(("texts", "spam"), [(20, 3), (1000, 134)])
def test_number_of_texts_is_an_option(texts: int, spam: int) -> None:
    corpus = SyntheticSms(texts=texts).load({}, "default")
    assert (len(corpus.texts), sum(corpus.labels)) == (texts, spam)


def test_seed_and_nothing_else_decides() -> None:
    state = random.getstate()
    one, same, other = (
        SyntheticSms(texts=200, seed=seed).load({}, quoting)
        for seed, quoting in ((1, "default"), (1, "none"), (2, "default"))
    )
    assert one == same
    assert one.texts != other.texts
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("label", "median", "ninetieth"), [(0, 52, 147), (1, 149, 160)], ids=["ham", "spam"]
)
def test_lengths_are_like_the_real_ones(
    corpus: clsbench.Corpus, label: int, median: int, ninetieth: int
) -> None:
    lengths = sorted(
        len(text) for text, own in zip(corpus.texts, corpus.labels, strict=True) if own == label
    )
    assert statistics.median(lengths) == pytest.approx(median, rel=0.15)
    assert lengths[len(lengths) * 9 // 10] == pytest.approx(ninetieth, rel=0.15)
    assert lengths[-1] <= LONGEST_TEXT_CHARACTERS
    assert lengths[0] >= 1


def test_texts_are_one_clean_line_each(corpus: clsbench.Corpus) -> None:
    for text in corpus.texts:
        assert text == text.strip()
        assert text.isprintable()
        assert not {"{", "}", "|"} & set(text)


def test_some_texts_are_exact_duplicates(corpus: clsbench.Corpus) -> None:
    for label in (0, 1):
        texts = [t for t, own in zip(corpus.texts, corpus.labels, strict=True) if own == label]
        assert 0.04 < 1 - len(set(texts)) / len(texts) < 0.16


def test_no_text_of_real_people(corpus: clsbench.Corpus, assets_dir: Path) -> None:
    """Only what anybody would type, an "ok" or a "call me", may stand in the real corpus too."""
    lines = (assets_dir / "sms-spam" / "SMSSpamCollection").read_text(encoding="utf-8")
    real = {line.split("\t", 1)[-1].strip().lower() for line in lines.splitlines()}
    shared = {text for text in corpus.texts if text.strip(" .!,").lower() in real}
    assert max(map(len, shared), default=0) <= 30


@pytest.mark.parametrize("seed", [0, 1])
def test_ham_and_spam_overlap_but_can_be_told_apart(seed: int) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    corpus = SyntheticSms(seed=seed).load({}, "default")
    order = random.Random(seed)
    by_label: list[list[str]] = [[], []]
    for text, label in zip(corpus.texts, corpus.labels, strict=True):
        by_label[label].append(text)
    pairs = [(t, label) for label in (0, 1) for t in order.sample(by_label[label], 747)]
    order.shuffle(pairs)
    train, test = pairs[:1045], pairs[1045:]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit([t for t, _ in train], [label for _, label in train])
    accuracy = model.score([t for t, _ in test], [label for _, label in test])
    assert 0.90 < accuracy < 0.985


def test_messages_of_a_thread_are_by_one_sender() -> None:
    threads = [Messenger(5).thread(kind=1, messages=4) for _ in range(1)]
    threads += [Messenger(seed).thread(kind=seed % 2, messages=4) for seed in range(40)]
    assert all(len(thread.messages) == 4 for thread in threads)
    # What is remembered (a name, a number, a subject) makes the messages of a thread alike.
    words = [[set(message.lower().split()) for message in t.messages] for t in threads]
    within = sum(len(w[0] & w[1]) for w in words)
    between = sum(len(w[0] & v[1]) for w, v in itertools.pairwise(words))
    assert within > 1.3 * between


@pytest.mark.parametrize(
    "rules", [{"a": "x {b}"}, {"a": "x {@b}"}, {"a": "{b?}"}], ids=["plain", "remembered", "maybe"]
)
def test_grammar_refuses_a_symbol_without_a_rule(rules: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="b"):
        Grammar(rules)


def test_grammar_refuses_a_rule_twice() -> None:
    with pytest.raises(ValueError, match="'a'"):
        Grammar({"a": "x"}, {"a": "y"})


def test_grammar_remembers_within_a_scope() -> None:
    grammar = Grammar({"pair": "{@n}{@n}", "n": "0|1|2|3|4|5|6|7|8|9"})
    pairs = {grammar.expand("pair", random.Random(seed), {}) for seed in range(30)}
    assert len(pairs) > 3
    assert all(pair[0] == pair[1] for pair in pairs)


def test_generating_needs_only_the_standard_library() -> None:
    code = (
        "import sys\n"
        "from clsbench.builtin.datasets.synthetic_sms.grammar import Messenger\n"
        "Messenger(0).corpus(50)\n"
        "print([m for m in ('numpy', 'pandas', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
