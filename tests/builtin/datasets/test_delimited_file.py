from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from delimited_files import HEADER, Write, complaint, load
from hypothesis import given
from hypothesis import strategies as st

import clsbench
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.testing import check_dataset


def test_csv_plain_file_is_read(write: Write) -> None:
    path = write("text,label\nwin now,spam\nsee you,ham\nwin,spam\n")
    corpus = load(path)
    assert corpus.class_names == ("ham", "spam")
    assert corpus.texts == ["win now", "see you", "win"]
    assert corpus.labels == [1, 0, 1]
    assert corpus.splits is None
    check_dataset(DelimitedFile(path=str(path)))


def test_csv_columns_are_found_by_name(write: Write) -> None:
    path = write("id,class,body,other\n1,b,x,\n2,a,y,\n3,a,z,\n")
    corpus = load(path, text="body", label="class")
    assert (corpus.texts, corpus.labels) == (["x", "y", "z"], [1, 0, 0])


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (["10", "9", "10"], ("9", "10")),
        (["1.5", "-2", "1.5"], ("-2", "1.5")),
        (["b", "a", "10", "10"], ("10", "a", "b")),
        (["nan", "1", "1"], ("1", "nan")),
        (["c", "a", "d", "b", "a"], ("a", "b", "c", "d")),
        (["²", "1", "1"], ("1", "²")),
        (["10 stars", "2 stars", "1 star", "1 star"], ("1 star", "2 stars", "10 stars")),
        (["v1.10", "v1.9", "v1", "v1"], ("v1", "v1.9", "v1.10")),
        (["a2", "a02", "b1", "b1"], ("a02", "a2", "b1")),
        (["a" + "9" * 5000, "a" + "1" * 5001, "a"] * 2, ("a", "a" + "9" * 5000, "a" + "1" * 5001)),
    ],
)
def test_csv_classes_are_sorted_naturally(
    labels: list[str], class_names: tuple[str, ...], write: Write
) -> None:
    corpus = load(write("text,label\n" + "".join(f"t,{label}\n" for label in labels)))
    assert corpus.class_names == class_names
    assert [corpus.class_names[label] for label in corpus.labels] == labels


@pytest.mark.parametrize("name", ["texts.tsv", "texts.TAB"])
def test_csv_extension_tsv_is_tab_separated(name: str, write: Write) -> None:
    corpus = load(write("text\tlabel\na, b\tx\nc\ty\nd\ty\n", name))
    assert corpus.texts == ["a, b", "c", "d"]


def test_csv_format_and_delimiter_options_apply(write: Write) -> None:
    assert load(write("text\tlabel\na\tx\nb\ty\nc\ty\n", "f.txt"), format="tsv").labels == [0, 1, 1]
    assert load(write("text;label\na;x\nb;y\nc;y\n"), delimiter=";").labels == [0, 1, 1]
    lines = '{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n'
    assert load(write(lines, "f.txt"), format="jsonl").labels == [0, 1]


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.json"])
def test_csv_json_lines_are_read(name: str, write: Write) -> None:
    rows = [
        {"text": "a\nb \u2028 \U0001f600", "label": "x", "more": [1]},
        {"text": "c", "label": "y"},
        {"label": "y", "text": "d"},
    ]
    path = write("\n\n".join(json.dumps(row) for row in rows) + "\r\n", name)
    corpus = load(path)
    assert corpus.texts == ["a\nb \u2028 \U0001f600", "c", "d"]
    assert corpus.labels == [0, 1, 1]


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        ([2, 10, 2], ("2", "10")),
        ([True, False, True], ("false", "true")),
        ([1, "1", 2], ("1", "2")),
    ],
)
def test_csv_json_labels_of_other_types_become_text(
    labels: list[Any], class_names: tuple[str, ...], write: Write
) -> None:
    lines = "\n".join(json.dumps({"text": "t", "label": label}) for label in labels)
    assert load(write(lines, "t.jsonl")).class_names == class_names


def test_csv_quoting_option_decides_how_quotes_are_read(write: Write) -> None:
    path = write('text\tlabel\n"a\tb"\tx\nhe said "c"\ty\n"d""e"\ty\n', "t.tsv")
    assert load(path).texts == ["a\tb", 'he said "c"', 'd"e']
    plain = write('text\tlabel\n"a\tx\nhe said "c"\ty\n"d""e"\ty\n', "u.tsv")
    assert load(plain, quoting="none").texts == ['"a', 'he said "c"', '"d""e"']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_line_ends_blank_lines_and_byte_order_mark_are_accepted(end: str, write: Write) -> None:
    content = end.join(["\ufefftext,label", "", "a,x", "", '"b', 'c",y', "d,y"])
    assert load(write(content)).texts == ["a", f"b{end}c", "d"]


def test_csv_text_of_a_million_characters_is_read(write: Write) -> None:
    before = csv.field_size_limit()
    long = "x" * 1_000_000
    quoted = '"' + "y\n" * 500_000 + '"'
    corpus = load(write(f"text,label\n{long},a\n{quoted},b\nz,b\n"))
    assert [len(text) for text in corpus.texts] == [1_000_000, 1_000_000, 1]
    assert csv.field_size_limit() == before
    json_line = json.dumps({"text": long, "label": 1})
    assert load(write(json_line + '\n{"text":"b","label":2}', "t.jsonl")).texts[0] == long


def test_csv_special_tokens_and_missing_value_words_are_text(write: Write) -> None:
    corpus = load(write("text,label\n<|endoftext|>,x\nNA,y\nnull,y\n  padded ,y\n"))
    assert corpus.texts == ["<|endoftext|>", "NA", "null", "  padded "]


def test_csv_relative_and_home_paths_are_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("text,label\na,x\nb,y\nc,y\n", "mine.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert DelimitedFile(path="mine.csv").user_files() == (Path("mine.csv"),)
    assert DelimitedFile(path="~/mine.csv").user_files() == (tmp_path / "mine.csv",)
    for path in ("mine.csv", "~/mine.csv"):
        assert len(DelimitedFile(path=path).load({}).texts) == 3


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda text: bool(text.strip())
)


@given(st.lists(st.tuples(words, st.sampled_from(["ham", "spam"])), min_size=3))
def test_csv_any_file_of_the_csv_and_json_modules_is_read_back(rows: list[tuple[str, str]]) -> None:
    if len({label for _, label in rows}) < 2:
        rows = [*rows, ("x", "ham"), ("y", "spam")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        corpus = load(path)
        assert list(corpus.texts) == [text for text, _ in rows]
        assert [corpus.class_names[label] for label in corpus.labels] == [
            label for _, label in rows
        ]
        json_path = Path(folder) / "t.jsonl"
        lines = [json.dumps({"text": t, "label": n}, ensure_ascii=False) for t, n in rows]
        json_path.write_bytes("\n".join(lines).encode())
        assert load(json_path) == corpus


@given(
    st.lists(
        st.text(st.sampled_from('ab" ,\n'), min_size=1).filter(lambda text: bool(text.strip())),
        min_size=1,
        max_size=4,
    )
)
def test_csv_loose_quotes_are_read_as_by_pandas(cells: list[str]) -> None:
    """Default quoting equals pandas'; files that pandas refuses or pads are refused."""
    content = "text,label\nfirst,x\nsecond,y\n" + "".join(f"{cell},x\n" for cell in cells)
    try:
        table = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False)
    except pd.errors.ParserError:
        table = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(content, encoding="utf-8", newline="")
        try:
            corpus = load(path)
        except clsbench.UsageError:
            return
    assert table is not None
    assert list(corpus.texts) == table["text"].tolist()


# --- refused files and options --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (" \r\n", "is empty"),
        ("\ufeff", "is empty"),
        (HEADER, "has no rows"),
        ("txt,label\na,b\n", "line 1: column 'text' not found; did you mean 'txt'?"),
        ("txt,label\na,b\n", "Its columns: txt, label"),
        ("alpha,beta\na,b\n", "choose from: alpha, beta"),
        ("text;label\na;b\n", "Are the columns separated by a semicolon? Give delimiter=;"),
        ("text\tlabel\na\tb\n", "separated by a tab? Give format=tsv"),
        ("text,text,label\na,b,c\n", "line 1: the header names the column 'text' 2 times"),
        (HEADER + "a,x\nb,y,z\n", "line 3: 3 fields, but the header has 2"),
        (HEADER + "a,x\n\nb\n", "line 4: 1 field, but the header has 2"),
        (HEADER + 'a,x\n"b\nc",y\nd,y,\n', "line 5: 3 fields"),
        (HEADER + 'a,x\n"b,y\nc,y\nd,y\n', "line 3: a double quote is opened here and never"),
        (HEADER + ',x\nb,y\n"  ",y\n', "2 rows with an empty text in 'text' (lines 2, 4)"),
        (HEADER + "a,x\nb,\n", "1 row without a label in 'label' (line 3)"),
        (HEADER + ",x\n" * 20 + "a,y\n", "20 rows with an empty text in 'text' (lines 2, 3, 4,"),
        (HEADER + "a,x\nb,x\n", "every row has the label 'x'"),
        (HEADER + "a,1\nb,2\nc,3\n", "every row has a different label"),
        (HEADER + "a,1\nb,2\nc,1.0\n", "the labels '1' (line 2) and '1.0' (line 4)"),
        (HEADER.encode() + b"a,x\nb\xe9,y\n", "line 3: byte 0xe9 at offset 16"),
        (b"\xef\xbb\xbf" + HEADER.encode() + b"\xff,y\n", "line 2: byte 0xff"),
        (HEADER + "a,x\nb\0,y\n", "line 3: a NUL character at offset 16"),
        ((HEADER + "a,b\n").encode("utf-16"), "UTF-16"),
    ],
)
def test_csv_bad_content_is_reported_with_its_line(
    content: str | bytes, said: str, write: Write
) -> None:
    assert said in complaint(write(content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b",}\n', "line 2: not valid JSON"),
        ('[\n{"text": "b"}\n]', "line 1: not valid JSON"),
        ('[\n{"text": "b"}\n]', "JSON Lines"),
        ('["a", "b"]', "line 1: expected one JSON object a line, got an array"),
        ('{"text": 7, "label": 1}', "line 1: 'text' holds a number, expected text"),
        ('{"text": true, "label": 1}', "'text' holds true or false, expected text"),
        ('{"text": ["a"], "label": 1}', "'text' holds an array"),
        ('{"text": "a", "label": {"b": 1}}', "'label' holds an object"),
        ('{"text": null, "label": 1}', "empty text in 'text' (line 1)"),
        ('{"text": "a", "label": null}', "without a label in 'label' (line 1)"),
        ('{"text": "a", "label": NaN}', "line 1: not valid JSON"),
        ('{"txt": "a", "label": 1}', "line 1: the object has no key 'text'; did you mean 'txt'?"),
        ('{"text": "\\ud83d", "label": 1}', "half a surrogate pair"),
        ('{"text": "a\\u0000", "label": 1}', "NUL character"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: not valid JSON"),
        ("[" * 100_000, "line 1: not valid JSON"),
        ('{"text": "a"', "line 1: not valid JSON"),
    ],
)
def test_csv_bad_json_lines_are_reported_with_their_line(
    content: str, said: str, write: Write
) -> None:
    assert said in complaint(write(content, "t.jsonl"))


def test_csv_quoted_comma_with_quoting_none_names_the_option(write: Write) -> None:
    message = complaint(write(HEADER + '"a,b",x\n'), quoting="none")
    assert "quoting=none does not read" in message


def test_csv_unknown_split_is_reported_with_close_match(write: Write) -> None:
    path = write("text,label,s\na,x,train\nb,y,tets\n")
    assert "line 3: 'tets' in 's' is not a split; did you mean 'test'?" in complaint(
        path, split="s"
    )


def test_csv_same_column_for_text_and_label_is_refused(write: Write) -> None:
    with pytest.raises(clsbench.UsageError, match="they must be different"):
        load(write(HEADER + "a,x\nb,y\n"), text="label")


def test_csv_paths_that_are_not_files_are_refused(tmp_path: Path) -> None:
    assert "no such file" in complaint(tmp_path / "none.csv")
    assert "is a directory" in complaint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe" in complaint(tmp_path / "pipe")
    with pytest.raises(clsbench.UsageError, match="cannot be read"):
        DelimitedFile(path="a\0b").load({})
    with pytest.raises(clsbench.UsageError, match="no such file"):
        DelimitedFile(path="~no-such-user-anywhere/x.csv").load({})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_csv_unreadable_file_is_refused(write: Write) -> None:
    path = write(HEADER)
    path.chmod(0)
    assert "cannot be read" in complaint(path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": ""},
        {"path": "a.csv", "delimiter": ""},
        {"path": "a.csv", "delimiter": ";;"},
        {"path": "a.csv", "delimiter": '"'},
        {"path": "a.csv", "delimiter": "\n"},
        {"path": "a.csv", "format": "xlsx"},
        {"path": "a.csv", "text": ""},
        {"path": "a.csv", "txt": "body"},
        {"train": "a.csv"},
        {"test": "a.csv"},
        {"path": "a.csv", "test": "b.csv"},
        {"train": "a.csv", "test": "b.csv", "split": "part"},
        {"path": "a.csv", "group": ""},
    ],
)
def test_csv_invalid_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, DelimitedFile)


def test_csv_load_imports_neither_torch_nor_pandas(write: Write) -> None:
    path = write(HEADER + "a,x\nb,y\nc,y\n")
    code = (
        "import sys; from clsbench.builtin.datasets.delimited_file import DelimitedFile; "
        "DelimitedFile(path=sys.argv[1]).load({}); "
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
