from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsbench.cli.predict_output import (
    Prediction,
    Predictions,
    as_json,
    check_output,
    file_lines,
    write_predictions,
)
from clsbench.components.values import TableFormat
from clsbench.data.delimited import Table, TableRow, read_table
from clsbench.errors import UsageError

ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def predictions(texts: list[str], table: Table | None = None) -> Predictions:
    rows = iter([Prediction(text, (0.25, 0.75), "spam") for text in texts])
    return Predictions(("ham", "spam"), 7, rows, table)


def table_of(columns: list[str], rows: list[list[str]]) -> Table:
    format = TableFormat(format="csv", delimiter=",", text=columns[0])
    return Table("t.csv", format, columns, [TableRow(n, row) for n, row in enumerate(rows)])


@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=4), st.sampled_from(["csv", "tsv", "jsonl"])
)
@settings(deadline=None, max_examples=50)
def test_file_lines_read_back_hold_every_column_and_the_predictions(
    rows: list[tuple[str, str]], form: str
) -> None:
    table = table_of(["body", "predicted"], [list(row) for row in rows])
    lines = "".join(file_lines(form, predictions([text for text, _ in rows], table)))
    if form == "jsonl" and not rows:
        assert lines == ""
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"t.{form}")
        file.write_bytes(lines.encode())
        again = read_table(file, TableFormat(text="body"))
    names = ["body", "predicted", "probability_ham", "probability_spam", "predicted_2"]
    assert list(again.columns) == names
    assert [again.cells(row) for row in again.rows] == [
        [*row, "0.25", "0.75", "spam"] for row in rows
    ]


def test_file_lines_of_texts_without_a_file_have_the_column_text() -> None:
    lines = list(file_lines("jsonl", predictions(["a\n"])))
    assert [json.loads(line) for line in lines] == [
        {"text": "a\n", "probability_ham": 0.25, "probability_spam": 0.75, "predicted": "spam"}
    ]


def test_file_lines_guard_formulas_by_option() -> None:
    table = table_of(["text", "=n"], [["=1+1", "-2"]])
    plain, guarded = (
        list(csv.reader(io.StringIO("".join(file_lines("csv", predictions(["a"], table), guard)))))
        for guard in (False, True)
    )
    assert plain[0][:2] == ["text", "=n"]
    assert plain[1][:2] == ["=1+1", "-2"]
    assert guarded[0][:2] == ["text", "'=n"]
    assert guarded[1][:2] == ["'=1+1", "-2"]


def test_as_json_with_two_columns_of_one_name_keeps_both() -> None:
    table = table_of(["text", "n", "n"], [["a", "1", "2"]])
    (prediction,) = as_json(predictions(["a"], table))["predictions"]
    assert json.loads(bytes(prediction["columns"])) == {"text": "a", "n": "1", "n_2": "2"}
    assert "columns" not in as_json(predictions(["a"]))["predictions"][0]


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.csv", None, "csv"),
        ("a.TAB", None, "tsv"),
        ("a.jsonl", "csv", "csv"),
        ("a", "tsv", "tsv"),
    ],
)
def test_check_output_format_is_that_of_the_option_or_extension(
    name: str, form: str | None, expected: str, tmp_path: Path
) -> None:
    assert check_output(tmp_path / name, form, None) == expected


def test_write_predictions_failure_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old")

    def failing() -> Predictions:
        def rows():  # type: ignore[no-untyped-def]
            yield Prediction("a", (0.5, 0.5), "ham")
            raise UsageError("stopped")

        return Predictions(("ham", "spam"), 7, rows(), None)

    with pytest.raises(UsageError, match="stopped"):
        write_predictions(file, "csv", failing())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    write_predictions(file, "csv", predictions(["é"]))
    assert file.read_text("utf-8").splitlines()[1] == "é,0.25,0.75,spam"
    with pytest.raises(UsageError, match=r"cannot be written"):
        write_predictions(tmp_path / "none" / "a.csv", "csv", predictions(["a"]))
