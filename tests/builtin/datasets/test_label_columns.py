"""The data set ``csv`` with any number of labels per text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from delimited_files import Write, complaint, load

from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.testing import check_dataset

LISTS = "text,topics\na,speed|login\nb,\nc,login\nd,10 billing | login\n"


def test_csv_labels_in_a_column_of_lists_are_read(write: Write) -> None:
    path = write(LISTS)
    corpus = load(path, labels="topics")
    assert corpus.multi_label
    assert corpus.class_names == ("10 billing", "login", "speed")
    assert corpus.labels == [(1, 2), (), (1,), (0, 1)]
    dataset = DelimitedFile(path=str(path), labels="topics")
    assert dataset.task() == "multi-label"
    check_dataset(dataset)


def test_csv_labels_in_columns_of_zeros_and_ones_are_read(write: Write) -> None:
    path = write("text,speed,login\na,1,1\nb,0,0\nc,False,TRUE\n")
    corpus = load(path, labels="speed+login")
    assert corpus.class_names == ("speed", "login")
    assert corpus.labels == [(0, 1), (), (1,)]
    check_dataset(DelimitedFile(path=str(path), labels="speed+login"))


def test_csv_labels_with_another_separator_are_read(write: Write) -> None:
    corpus = load(write(LISTS.replace("|", ";")), labels="topics", separator=";")
    assert corpus.labels == [(1, 2), (), (1,), (0, 1)]


def test_jsonl_labels_in_arrays_are_read(write: Write) -> None:
    rows: list[Any] = [["speed", "login"], [], None, ["login"]]
    lines = [json.dumps({"text": "x", "topics": row}) for row in rows]
    corpus = load(write("\n".join(lines), "texts.jsonl"), labels="topics")
    assert corpus.class_names == ("login", "speed")
    assert corpus.labels == [(0, 1), (), (), (0,)]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("text,a,b\nx,1,0\ny,2,1\n", {"labels": "a+b"}, "line 3: '2' in 'a'; expected 0 or 1"),
        ("text,a,b\nx,1,0\ny,,1\n", {"labels": "a+b"}, "line 3: '' in 'a'; expected 0 or 1"),
        ("text,a,b\nx,1,0\ny,1,0\n", {"labels": "a+b"}, "no text has the label 'b'"),
        ("text,a\nx,1\n", {"labels": "a+c"}, "column 'c' not found"),
        ("text,a\nx,1\n", {"labels": "a+a"}, "labels=a+a names 'a' twice"),
        ("text,a\nx,1\n", {"labels": "a+"}, "labels=a+ has an empty name"),
        ("text,t\nx,u\ny,\n", {"labels": "t"}, "only the label 'u' in 't'"),
        ("text,t\nx,\ny,\n", {"labels": "t"}, "no labels at all in 't'"),
        ("text,a,b\nx,1,0\ny,0,1\n", {"labels": "a+b"}, "every text has exactly one label"),
        ("text,t\nx,u\ny,v\n", {"labels": "t"}, "no text has more than one label in 't'"),
        ("text,t\nx,u;v\ny,\nz,u\n", {"labels": "t"}, "check the separator (it is '|')"),
        ("text,t\nx,u\ny,[]\n", {"labels": "t"}, "line 3: '[]' in 't' is a list as Python"),
        ("text,t\nx,\"['u', 'v']\"\n", {"labels": "t"}, "in 't' is a list as Python or JSON"),
        ('text,t\nx,"[""u""]"\n', {"labels": "t"}, "in 't' is a list as Python or JSON"),
        ("text,t\nx,u|\ny,v\n", {"labels": "t"}, "line 2: an empty label in 't'"),
        ("text,t\nx,u|u\ny,v\n", {"labels": "t"}, "line 2: the same label twice in 't'"),
        (
            "text,t\nx,u|1;v\ny,v\n",
            {"labels": "t", "separator": ";"},
            "the label 'u|1' contains '|'",
        ),
    ],
)
def test_csv_labels_that_cannot_be_used_are_named(
    content: str, options: dict[str, Any], expected: str, write: Write
) -> None:
    assert expected in complaint(write(content), **options)


def test_jsonl_labels_that_are_not_all_arrays_are_named(write: Write) -> None:
    lines = ['{"text": "x", "t": ["u", "v"]}', '{"text": "y", "t": "u"}']
    found = complaint(write("\n".join(lines), "texts.jsonl"), labels="t")
    assert "line 2: 't' holds u, expected an array of texts in every row" in found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"labels": "t", "label": "u"}, "label and labels exclude each other"),
        ({"separator": ";"}, "separator requires labels"),
        ({"labels": "a+b", "separator": ";"}, "separator requires labels"),
    ],
)
def test_csv_label_options_that_exclude_each_other_are_refused(
    options: dict[str, str], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        DelimitedFile(path="x.csv", **options)
