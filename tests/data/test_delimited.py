from __future__ import annotations

from pathlib import Path

import pytest

from clsbench.components.values import TableFormat
from clsbench.data.delimited import Table, read_table
from clsbench.errors import UsageError


def table_of(folder: Path, content: str, name: str = "t.csv", **format: str) -> Table:
    file = folder / name
    file.write_text(content, encoding="utf-8", newline="")
    return read_table(file, TableFormat(**format))  # type: ignore[arg-type]


def test_read_table_keeps_all_columns_and_the_lines_of_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'text,n,text\n"a\nb",1,x\n\n,2,y\n')
    assert table.columns == ("text", "n", "text")
    assert [(row.line, row.cells) for row in table.rows] == [
        (2, ["a\nb", "1", "x"]),
        (5, ["", "2", "y"]),
    ]
    assert table.values("n", "label") == ["1", "2"]
    with pytest.raises(UsageError, match=r"line 1: the header names the column 'text' 2 times"):
        table.texts()


def test_read_table_of_json_lines_has_the_columns_of_all_objects(tmp_path: Path) -> None:
    table = table_of(
        tmp_path, '{"text": "a", "n": 1}\n\n{"m": [2], "text": null, "n": true}\n', "t.jsonl"
    )
    assert table.columns == ("text", "n", "m")
    assert [row.line for row in table.rows] == [1, 3]
    assert [table.cells(row) for row in table.rows] == [["a", "1", ""], ["", "true", "[2]"]]
    assert table.texts() == ["a", ""]
    with pytest.raises(UsageError, match=r"line 1: the object has no key 'm'"):
        table.values("m", "label")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("text\na\n\nb\n", ["a", "", "b"]),
        ("\ntext\na\n\n", ["a", ""]),
        ('text\n""\na', ["", "a"]),
        ("text,n\na,1\n\nb,2\n\n", ["a", "b"]),
        ("text\n", []),
    ],
)
def test_read_table_blank_lines_are_rows_if_there_is_one_column(
    content: str, texts: list[str], tmp_path: Path
) -> None:
    assert table_of(tmp_path, content).texts() == texts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,text\n1,see you, at seven\n", "line 2: 3 fields, but the header has 2"),
        ('id,text\n\n1,"a\nb"\n2\n', "line 5: 1 field, but the header has 2"),
        ('id,text\n1,"a\nb', "line 2: a double quote is opened here.*use quoting=none"),
        ("", "is empty"),
        ('{"text": "a"}\n', "column 'text' not found.*Is it JSON Lines. Give format=jsonl"),
        ("text|n\na|1\n", r"column 'text' not found.*separated by '\|'. Give delimiter=|"),
        ("id,txt\n1,a\n", "line 1: column 'text' not found; did you mean 'txt'.*text=COLUMN"),
    ],
)
def test_read_table_damaged_file_is_refused_with_line_and_setting(
    content: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        table_of(tmp_path, content).texts()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', "line 2: the object has no key 'text'; did you mean"),
        ('[{"text": "a"}]\n', "line 1: expected one JSON object a line, got an array"),
        ('{\n"text": "a"}\n', "line 1: not valid JSON.*one whole object a line"),
        ('{"text": 3}\n', "line 1: 'text' holds a number, expected text"),
        ('{"text": "a", "n": 1e999}\n', "line 1: not valid JSON: .*out of range"),
        ('{"text": "a", "n": "\\ud83d"}\n', "line 1: not valid JSON: .*half a surrogate pair"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}\n", "line 1: not valid JSON"),
        ('{"text": "a", "n": ' + "[" * 100_000, "line 1: not valid JSON"),
    ],
)
def test_read_table_damaged_json_lines_are_refused_with_their_line(
    content: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        table_of(tmp_path, content, "t.jsonl").texts()
