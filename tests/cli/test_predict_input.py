from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clsbench
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.cli.predict_input import (
    changed_format,
    lines_of,
    texts_of_arguments,
    texts_of_file,
)
from clsbench.components.values import TableFormat
from clsbench.errors import UsageError
from clsbench.results.csvtext import csv_line

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "gb18030")


def written(texts: list[str], form: str, delimiter: str, quoting: str, line_end: str) -> str:
    """A table of texts, labels and numbers in a dialect."""
    rows = [("n", "text", "label"), *((str(n), t, "ab"[n % 2]) for n, t in enumerate(texts))]
    if form == "jsonl":
        names, *others = rows
        return line_end.join(json.dumps(dict(zip(names, row, strict=True))) for row in others)
    if quoting == "none":
        return "".join(delimiter.join(row) + line_end for row in rows)
    return "".join(csv_line(row, delimiter=delimiter).removesuffix("\n") + line_end for row in rows)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], dict[str, Any], bytes]:
    """Texts, options of the data set and the bytes of the file."""
    form = draw(st.sampled_from(["csv", "tsv", "jsonl"]))
    delimiter = draw(st.sampled_from([None, ",", "\t", ";", "|", " ", "'", "é"]))
    quoting = draw(st.sampled_from(["default", "none"]))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(ENCODINGS))
    mark = delimiter or ("\t" if form == "tsv" else ",")
    codec = encoding.removesuffix("-sig")
    unwritable = "\0" + (mark + "\r\n" if quoting == "none" and form != "jsonl" else "")
    likely = st.sampled_from([c for c in "a\"',;|\t é\r\n" if c not in unwritable])
    anything = st.characters(codec="utf-8" if codec.startswith("u") else codec).filter(
        lambda c: c not in unwritable
    )
    text = st.text(likely | anything, min_size=1).filter(lambda text: bool(text.strip()))
    texts = draw(st.lists(text, min_size=3, max_size=6))
    options = {"format": form, "delimiter": delimiter, "encoding": encoding}
    content = written(texts, form, mark, quoting, line_end)
    return texts, {**options, "quoting": quoting}, content.encode(encoding)


@given(tables())
@settings(max_examples=20, deadline=None)
def test_texts_of_file_in_any_dialect_equal_the_datasets(
    table: tuple[list[str], dict[str, Any], bytes],
) -> None:
    texts, options, content = table
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.txt")
        file.write_bytes(content)
        dataset = DelimitedFile(path=str(file), **options)
        corpus = dataset.load({})
        given = texts_of_file(file, dataset.table_format())
    assert list(given.texts) == list(corpus.texts) == texts
    assert given.table is not None
    assert [given.table.cells(row)[1] for row in given.table.rows] == texts


@given(st.binary(max_size=60), st.sampled_from(["default", "none"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_texts_of_file_accepts_every_row_that_the_dataset_reads(
    content: bytes, quoting: Literal["default", "none"], is_jsonl: bool
) -> None:
    """For any content after three valid rows, both read the same texts or both refuse."""
    rows = b'{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n{"text":"c","label":"y"}\n'
    start = rows if is_jsonl else b"text,label\na,x\nb,y\nc,y\n"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.jsonl" if is_jsonl else "t.csv")
        file.write_bytes(start + content)
        dataset = DelimitedFile(path=str(file), quoting=quoting)
        try:
            corpus = dataset.load({})
        except clsbench.UsageError:
            return
        assert list(texts_of_file(file, dataset.table_format()).texts) == corpus.texts


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\n\nb\r\n\r\n", ["a", "", "b", ""]),
        (" a \u2028b\x0bc\n", [" a \u2028b\x0bc"]),
    ],
)
def test_lines_of_text_are_one_text_each(text: str, lines: list[str]) -> None:
    assert lines_of(text).texts == lines


def test_texts_of_arguments_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(UsageError, match=r"TEXT 2: byte 0xe9 is not valid UTF-8.*--encoding"):
        texts_of_arguments(["a", "caf\udce9"])


def test_changed_format_new_format_resets_the_delimiter() -> None:
    format = TableFormat(format="csv", delimiter=";", quoting="none", text="body")
    assert changed_format(format, {"format": "tsv", "text": None}) == TableFormat(
        format="tsv", quoting="none", text="body"
    )
    assert changed_format(format, {"encoding": "latin-1"}).delimiter == ";"
