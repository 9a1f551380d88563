"""Columns and files of the data set ``csv`` that determine the split."""

from __future__ import annotations

import pytest
from delimited_files import HEADER, Write, complaint, load

import clsbench
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.testing import check_dataset


def test_csv_split_column_gives_predefined_splits(write: Write) -> None:
    path = write("text,label,part\na,x,train\nb,y,Train\nc,x,dev\nd,y, test \ne,x,val\n")
    corpus = load(path, split="part")
    assert corpus.splits == ["train", "train", "validation", "test", "validation"]
    check_dataset(DelimitedFile(path=str(path), split="part"))


DATED = "text,label,user,date\na,x,ann,2025-01-02\nb,y,bob,2025-01-01\nc,x,ann,2025-01-03\n"


def test_csv_group_and_time_columns_fill_the_corpus_and_choose_the_split(write: Write) -> None:
    path = write(DATED)
    corpus = load(path, group="user", time="date")
    assert corpus.groups == ["ann", "bob", "ann"]
    assert corpus.times is not None
    assert sorted(range(3), key=corpus.times.__getitem__) == [1, 0, 2]
    assert (load(path).groups, load(path).times) == (None, None)
    for options, split in (
        ({"group": "user"}, "group"),
        ({"time": "date"}, "time"),
        ({"group": "user", "time": "date"}, "group"),
        ({"group": "user", "split": "date"}, "predefined"),
        ({}, "stratified"),
    ):
        assert DelimitedFile(path=str(path), **options).default_split() == split
    check_dataset(DelimitedFile(path=str(path), group="user", time="date"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (DATED.replace("bob", " "), "1 row without a group in 'user' (line 3)"),
        (DATED.replace("2025-01-01", ""), "1 row without a time in 'date' (line 3)"),
        (DATED.replace("2025-01-01", "1/1/2025"), "line 3: '1/1/2025' in 'date' is not a time"),
        (DATED.replace("2025-01-01", "2025"), "line 3: '2025' in 'date' is not a time"),
        (DATED.replace("user", "usr"), "column 'user' not found; did you mean 'usr'?"),
    ],
)
def test_csv_bad_group_or_time_is_reported_with_its_line(
    write: Write, content: str, said: str
) -> None:
    assert said in complaint(write(content), group="user", time="date")


def test_csv_files_of_the_splits_are_read_as_one_corpus(write: Write) -> None:
    train = write(HEADER + "a,x\nb,y\n", "train.csv")
    test = write(HEADER + "c,y\nd,x\n", "test.csv")
    chosen = DelimitedFile(train=str(train), test=str(test))
    corpus = chosen.load({})
    assert corpus.texts == ["a", "b", "c", "d"]
    assert corpus.labels == [0, 1, 1, 0]
    assert corpus.splits == ["train", "train", "test", "test"]
    assert chosen.default_split() == "predefined"
    assert chosen.user_files() == (train, test)
    check_dataset(chosen)
    validation = write(HEADER + "e,y\n", "v.csv")
    with_validation = DelimitedFile(train=str(train), validation=str(validation), test=str(test))
    assert with_validation.load({}).splits == ["train", "train", "validation", "test", "test"]


def test_csv_files_of_the_splits_errors_name_the_file(write: Write) -> None:
    train = write(HEADER + "a,1\nb,2\n", "train.csv")
    test = write(HEADER + "c,1.0\nd,2\n", "test.csv")
    with pytest.raises(clsbench.UsageError) as caught:
        DelimitedFile(train=str(train), test=str(test)).load({})
    assert f"'1' ({train}, line 2) and '1.0' ({test}, line 2) are the same number" in str(
        caught.value
    )
