"""The column of second texts of the data set ``csv``."""

from __future__ import annotations

import pytest
from delimited_files import Write, complaint, load

import clsbench
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.testing import check_dataset

PAIRS = "premise,hypothesis,label\na,x,yes\nb,y,no\na,y,no\n"


def test_csv_text_pair_column_fills_the_corpus(write: Write) -> None:
    path = write(PAIRS)
    corpus = load(path, text="premise", text_pair="hypothesis")
    assert (corpus.texts, corpus.text_pairs) == (["a", "b", "a"], ["x", "y", "y"])
    assert load(path, text="premise").text_pairs is None
    check_dataset(DelimitedFile(path=str(path), text="premise", text_pair="hypothesis"))


def test_csv_text_pairs_of_several_files_are_read(write: Write) -> None:
    train, test = write(PAIRS, "train.csv"), write(PAIRS.replace(",x", ",z"), "test.csv")
    options = {"text": "premise", "text_pair": "hypothesis"}
    corpus = DelimitedFile(train=str(train), test=str(test), **options).load({})
    assert corpus.text_pairs == ["x", "y", "y", "z", "y", "y"]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (PAIRS, {"text_pair": "hypotheses"}, "column 'hypotheses' not found; did you mean"),
        (PAIRS.replace("b,y", "b, "), {}, "1 row with an empty text in 'hypothesis' (line 3)"),
    ],
)
def test_csv_bad_second_texts_are_refused(
    write: Write, content: str, options: dict[str, str], said: str
) -> None:
    chosen = {"text": "premise", "text_pair": "hypothesis", **options}
    assert said in complaint(write(content), **chosen)


@pytest.mark.parametrize("column", ["premise", "label"])
def test_csv_text_pair_column_of_other_values_is_refused(write: Write, column: str) -> None:
    with pytest.raises(clsbench.UsageError, match=f"premise, {column}, label; they must be diff"):
        load(write(PAIRS), text="premise", text_pair=column)


def test_csv_second_text_that_is_not_text_is_refused_with_its_line(write: Write) -> None:
    path = write('{"text": "a", "other": "b", "label": 1}\n{"text": "a", "other": 7, "label": 2}\n')
    with pytest.raises(clsbench.UsageError, match="line 2: 'other' holds a number, expected text"):
        DelimitedFile(path=str(path), format="jsonl", text_pair="other").load({})
