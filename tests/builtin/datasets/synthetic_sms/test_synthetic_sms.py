from __future__ import annotations

import hashlib
import random
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import clsbench
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms, clsbench_register_datasets

GOLDEN_SHA256 = "694164e7f5916a89388d007502863a2694046bfc45a76f9bc7a52ca3898659d3"


@pytest.fixture(scope="module")
def corpus() -> clsbench.Corpus:
    return SyntheticSms().load({})


def test_synthetic_sms_corpus_has_the_recorded_hash(corpus: clsbench.Corpus) -> None:
    lines = "".join(
        f"{label}\t{text}\n" for label, text in zip(corpus.labels, corpus.texts, strict=True)
    )
    assert hashlib.sha256(lines.encode()).hexdigest() == GOLDEN_SHA256


def test_synthetic_sms_texts_option_takes_the_first_texts(corpus: clsbench.Corpus) -> None:
    first = SyntheticSms(texts=20).load({})
    assert first.texts == corpus.texts[:20]
    assert first.labels == corpus.labels[:20]
    assert 0 < sum(first.labels) < 20


def test_synthetic_sms_is_registered_and_needs_no_assets() -> None:
    assert clsbench_register_datasets() == {"synthetic-sms": SyntheticSms}
    assert SyntheticSms().assets() == ()
    assert SyntheticSms().stand_in() is None


def test_synthetic_sms_proportions_equal_the_real_corpus(corpus: clsbench.Corpus) -> None:
    assert corpus.class_names == ("ham", "spam")
    assert len(corpus.texts) == len(corpus.labels) == 5572
    assert sum(corpus.labels) == 747
    # Both classes are spread over the file, as in the real one.
    fifths = [sum(corpus.labels[start : start + 1114]) for start in range(0, 5570, 1114)]
    assert min(fifths) > 100


@pytest.mark.parametrize(
    ("label", "median", "ninetieth"), [(0, 52, 147), (1, 149, 160)], ids=["ham", "spam"]
)
def test_synthetic_sms_lengths_resemble_the_real_corpus(
    corpus: clsbench.Corpus, label: int, median: int, ninetieth: int
) -> None:
    lengths = sorted(
        len(text) for text, own in zip(corpus.texts, corpus.labels, strict=True) if own == label
    )
    assert statistics.median(lengths) == pytest.approx(median, rel=0.15)
    assert lengths[len(lengths) * 9 // 10] == pytest.approx(ninetieth, rel=0.15)
    assert lengths[-1] <= 300
    assert lengths[0] >= 1


def test_synthetic_sms_texts_are_single_printable_lines(corpus: clsbench.Corpus) -> None:
    for text in corpus.texts:
        assert text == text.strip()
        assert text.isprintable()
        assert not {"{", "}", "|"} & set(text)


def test_synthetic_sms_contains_exact_duplicates(corpus: clsbench.Corpus) -> None:
    for label in (0, 1):
        texts = [t for t, own in zip(corpus.texts, corpus.labels, strict=True) if own == label]
        assert 0.04 < 1 - len(set(texts)) / len(texts) < 0.16


def test_synthetic_sms_shares_only_short_texts_with_the_real_corpus(
    corpus: clsbench.Corpus, assets_dir: Path
) -> None:
    """Only short texts, such as "ok" or "call me", may be in the real corpus too."""
    lines = (assets_dir / "sms-spam" / "SMSSpamCollection").read_text(encoding="utf-8")
    real = {line.split("\t", 1)[-1].strip().lower() for line in lines.splitlines()}
    shared = {text for text in corpus.texts if text.strip(" .!,").lower() in real}
    assert max(map(len, shared), default=0) <= 30


def test_synthetic_sms_classes_are_separable_with_errors(corpus: clsbench.Corpus) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    order = random.Random(0)
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


def test_synthetic_sms_load_imports_only_the_standard_library() -> None:
    code = (
        "import sys\n"
        "from clsbench.builtin.datasets.synthetic_sms import SyntheticSms\n"
        "SyntheticSms().load({})\n"
        "print([m for m in ('numpy', 'pandas', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
