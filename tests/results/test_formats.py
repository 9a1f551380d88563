from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_examples import STAND_INS, make_metrics, make_record, make_spec

from clsbench.analysis.results_table import results_table
from clsbench.results.formats import (
    cells,
    column_widths,
    format_cell,
    header_lines,
    markdown_text,
    marked,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from clsbench.results.store import StoredRun

NASTY = 'a,"b"\n|c| \\d _e_ {f}$g%h&i#j~k^l\r<m> ü \U0001f600'


def make_table() -> pd.DataFrame:
    records = [
        make_record(spec=make_spec(1), metrics=make_metrics(0.91, seed=1)),
        make_record(
            spec=make_spec(2, {"name": "all"}),
            stand_ins=STAND_INS,
            status="failed",
            metrics=None,
            throughput=None,
            error=NASTY,
        ),
    ]
    return results_table(
        StoredRun(Path(f"/s/20251121T101729Z-gpt2-sms-spam-{i:08d}"), r)
        for i, r in enumerate(records)
    )


def test_to_csv_read_back_is_equal() -> None:
    table = make_table()
    dtypes = {name: str(dtype) for name, dtype in table.dtypes.items()}
    read = pd.read_csv(
        io.StringIO(to_csv(table)), dtype=dtypes, keep_default_na=False, na_values=[""]
    )
    text = [name for name, dtype in dtypes.items() if dtype in ("str", "object")]
    read[text] = read[text].fillna("")
    pd.testing.assert_frame_equal(read, table)


def test_to_json_read_back_is_equal() -> None:
    table = make_table()
    rows = json.loads(to_json(table), parse_constant=pytest.fail)
    assert [list(row) for row in rows] == [list(table.columns)] * 2
    assert rows[0]["test_accuracy"] == table["test_accuracy"][0]
    assert rows[0]["trainable_parameters"] == 7_090_946
    assert rows[0]["modified"] is False
    assert rows[1]["test_accuracy"] is None
    assert rows[1]["test_n"] is None
    assert rows[1]["error"] == NASTY
    assert json.loads(to_json(results_table([]))) == []


def test_to_markdown_has_one_line_per_run_with_all_cells() -> None:
    table = make_table()[["run", "test_accuracy", "seed", "error"]]
    header, rule, *rows = to_markdown(table).splitlines()
    assert len(rows) == 2
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \| -+ \|", rule)
    for line in (header, rule, *rows):
        assert len(re.findall(r"(?<!\\)\|", line)) == 5, line
    assert format_cell("test_accuracy", make_table()["test_accuracy"][0]) in rows[0]
    assert r"\|c\|" in rows[1]


def test_markdown_text_escapes_markup() -> None:
    assert markdown_text("![x](http://a/p.png) &lt;b> ~~no~~ #1") == (
        r"\!\[x\](http://a/p.png) \&lt;b> \~\~no\~\~ \#1"
    )


def test_to_latex_escapes_a_bracket_at_the_start_of_a_row() -> None:
    assert "\n{[}1] & " in to_latex(pd.DataFrame({"row": ["[1]"], "title": ["x"]}))


def test_to_latex_replaces_characters_missing_in_its_fonts() -> None:
    text = to_latex(pd.DataFrame({"row": ["<b>|"], "title": ["x"]}))
    assert r"\textless{}b\textgreater{}\textbar{}" in text


def test_to_latex_escapes_special_characters() -> None:
    text = to_latex(make_table()[["run", "test_accuracy", "error"]])
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    assert "\\begin{tabular}{lrl}" in text
    assert r"test\_accuracy" in body
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == 2
    assert r"\{f\}\$g\%h\&i\#j\textasciitilde{}k\textasciicircum{}l" in rows[2]
    assert r"\textbackslash{}d \_e\_" in rows[2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("test_accuracy", 0.95666666, "0.9567"),
        ("test_accuracy", float("nan"), "-"),
        ("test_n", pd.NA, "-"),
        ("trainable_parameters", 7_090_946, "7,090,946"),
        ("seed", 123_456, "123456"),
        ("batch_size", 8, "8"),
        ("lr", 5e-5, "5e-05"),
        ("total_seconds", 12345.67, "12,345.7"),
        ("total_seconds", 0.0391, "0.0391"),
        ("modified", True, "yes"),
        ("status", "failed", "failed"),
    ],
)
def test_format_cell_rounds_for_display(name: str, value: object, expected: str) -> None:
    assert format_cell(name, value) == expected


@given(st.from_regex(r"[a-z]{1,12}(_[a-z0-9]{1,12}){0,4}", fullmatch=True))
def test_header_lines_joined_are_the_name(name: str) -> None:
    lines = header_lines(name)
    assert "".join(lines) == name
    assert all(line.endswith("_") for line in lines[:-1])


def test_marked_replaces_the_names_of_stand_ins() -> None:
    table = make_table()[["run", "stand_ins"]]
    assert marked(table)["*"].tolist() == ["", "*"]
    assert list(marked(table[["run"]])) == ["run"]


@settings(max_examples=30)
@given(st.integers(20, 300))
def test_column_widths_keep_numbers_and_minimum_text_widths(width: int) -> None:
    table = make_table()[["run", "test_accuracy", "freezing", "error"]]
    widths = column_widths(table, width)
    assert (widths is None) == (width < 1 + 19 + 10 + 14 + 14)
    if widths is not None:
        run, accuracy, freezing, error = widths
        assert 1 + sum(wide + 2 for wide in widths) <= width
        assert run >= 17
        assert accuracy == len("accuracy")
        assert min(freezing, error) >= 12


def test_cells_are_rectangular() -> None:
    table = make_table()
    assert [len(row) for row in cells(table)] == [len(table.columns)] * 2
    assert cells(results_table([])) == []
