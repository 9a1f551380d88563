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


def test_the_pinned_hash_is_that_of_the_collection(files: clsbench.Files) -> None:
    content = files[COLLECTION.key].read_bytes()
    assert hashlib.sha256(content).hexdigest() == COLLECTION.sha256
    assert len(content) == COLLECTION.size_bytes


@pytest.mark.parametrize(("quoting", "texts"), [("default", 5572), ("none", 5574)])
def test_quoting_decides_how_many_texts_there_are(
    quoting: Literal["default", "none"], texts: int, files: clsbench.Files
) -> None:
    corpus = SmsSpam(quoting=quoting).load(files)
    assert len(corpus.texts) == texts
    assert corpus.class_names == ("ham", "spam")
    assert Counter(corpus.labels) == {0: texts - 747, 1: 747}
    assert corpus.splits is None


def test_default_quoting_reads_what_the_book_reads(files: clsbench.Files) -> None:
    table = pd.read_csv(files[COLLECTION.key], sep="\t", header=None, names=["Label", "Text"])
    corpus = SmsSpam().load(files)
    assert list(corpus.texts) == table["Text"].tolist()
    assert [corpus.class_names[label] for label in corpus.labels] == table["Label"].tolist()


def test_without_quoting_every_line_is_a_text_as_it_stands(files: clsbench.Files) -> None:
    lines = files[COLLECTION.key].read_text(encoding="utf-8").split("\n")
    corpus = SmsSpam(quoting="none").load(files)
    assert list(corpus.texts) == [line.partition("\t")[2] for line in lines if line]


def test_a_message_that_reads_like_a_missing_value_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "collection"
    path.write_text("ham\tNA\nspam\tnan\nham\tnull\n", encoding="utf-8")
    corpus = SmsSpam().load({COLLECTION.key: path})
    assert list(corpus.texts) == ["NA", "nan", "null"]


def test_the_stand_in_is_embedded() -> None:
    stand_in = SmsSpam().stand_in()
    assert isinstance(stand_in, SyntheticSms)
    assert stand_in.assets() == ()


def test_the_mirror_comes_second() -> None:
    urls = [source.url for source in COLLECTION.sources if isinstance(source, clsbench.WebFile)]
    assert [url.split("/")[2] for url in urls] == ["archive.ics.uci.edu", "f001.backblazeb2.com"]
