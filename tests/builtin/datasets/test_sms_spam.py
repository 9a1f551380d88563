from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

import clsbench
from clsbench.builtin.datasets.sms_spam import COLLECTION, SmsSpam
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms


@pytest.fixture
def files(assets_dir: Path) -> clsbench.Files:
    return {COLLECTION.key: assets_dir / COLLECTION.key}


def test_sms_spam_file_matches_the_pinned_hash(files: clsbench.Files) -> None:
    content = files[COLLECTION.key].read_bytes()
    assert hashlib.sha256(content).hexdigest() == COLLECTION.sha256
    assert len(content) == COLLECTION.size_bytes


@pytest.mark.parametrize(("quoting", "texts"), [("default", 5572), ("none", 5574)])
def test_sms_spam_quoting_determines_the_number_of_texts(
    quoting: Literal["default", "none"], texts: int, files: clsbench.Files
) -> None:
    corpus = SmsSpam(quoting=quoting).load(files)
    assert len(corpus.texts) == texts
    assert corpus.class_names == ("ham", "spam")
    assert Counter(corpus.labels) == {0: texts - 747, 1: 747}
    assert corpus.splits is None


def test_sms_spam_default_quoting_equals_the_books_pandas_call(files: clsbench.Files) -> None:
    table = pd.read_csv(files[COLLECTION.key], sep="\t", header=None, names=["Label", "Text"])
    corpus = SmsSpam().load(files)
    assert list(corpus.texts) == table["Text"].tolist()
    assert [corpus.class_names[label] for label in corpus.labels] == table["Label"].tolist()


def test_sms_spam_quoting_none_reads_every_line_unchanged(files: clsbench.Files) -> None:
    lines = files[COLLECTION.key].read_text(encoding="utf-8").split("\n")
    corpus = SmsSpam(quoting="none").load(files)
    assert list(corpus.texts) == [line.partition("\t")[2] for line in lines if line]


def test_sms_spam_missing_value_words_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "collection"
    path.write_text("ham\tNA\nspam\tnan\nham\tnull\n", encoding="utf-8")
    corpus = SmsSpam().load({COLLECTION.key: path})
    assert list(corpus.texts) == ["NA", "nan", "null"]


def test_sms_spam_stand_in_is_embedded() -> None:
    stand_in = SmsSpam().stand_in()
    assert isinstance(stand_in, SyntheticSms)
    assert stand_in.assets() == ()


def test_sms_spam_mirror_is_the_second_source() -> None:
    urls = [source.url for source in COLLECTION.sources if isinstance(source, clsbench.WebFile)]
    assert [url.split("/")[2] for url in urls] == ["archive.ics.uci.edu", "f001.backblazeb2.com"]
