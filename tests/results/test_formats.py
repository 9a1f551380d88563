from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsbench.results.formats import (
    cells,
    default_columns,
    folded_width,
    format_cell,
    header_lines,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from clsbench.results.store import StoredRun
from clsbench.results.table import results_table
from record_examples import STAND_INS, make_metrics, make_record, make_spec

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


def test_csv_comes_back_as_it_was() -> None:
    table = make_table()
    dtypes = {name: str(dtype) for name, dtype in table.dtypes.items()}
    read = pd.read_csv(
        io.StringIO(to_csv(table)), dtype=dtypes, keep_default_na=False, na_values=[""]
    )
    text = [name for name, dtype in dtypes.items() if dtype in ("str", "object")]
    read[text] = read[text].fillna("")
    pd.testing.assert_frame_equal(read, table)


def test_json_comes_back_as_it_was() -> None:
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


def test_markdown_has_one_line_a_run_and_as_many_cells() -> None:
    table = make_table()[["run", "test_accuracy", "seed", "error"]]
    header, rule, *rows = to_markdown(table).splitlines()
    assert len(rows) == 2
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \| -+ \|", rule)
    for line in (header, rule, *rows):
        assert len(re.findall(r"(?<!\\)\|", line)) == 5, line
    assert format_cell("test_accuracy", make_table()["test_accuracy"][0]) in rows[0]
    assert r"\|c\|" in rows[1]


def test_latex_escapes_what_is_special() -> None:
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
        ("modified", True, "yes"),
        ("status", "failed", "failed"),
    ],
)
def test_cells_for_people(name: str, value: object, expected: str) -> None:
    assert format_cell(name, value) == expected


@given(st.from_regex(r"[a-z]{1,12}(_[a-z0-9]{1,12}){0,4}", fullmatch=True))
def test_header_lines_are_the_name(name: str) -> None:
    lines = header_lines(name)
    assert "".join(lines) == name
    assert all(line.endswith("_") for line in lines[:-1])


def test_default_columns_tell_the_runs_apart_within_the_line() -> None:
    freezings = [{"name": "all"}, {"name": "last-blocks", "n": 2}]
    records = [make_record(spec=make_spec(7, freezing)) for freezing in freezings]
    name = "20251121T101729Z-gpt2-sms-spam-{:08d}"
    table = results_table(
        StoredRun(Path(name.format(i)), record) for i, record in enumerate(records)
    )
    chosen = default_columns(table)
    assert chosen == [
        *("run", "freezing", "test_accuracy", "test_accuracy_low", "test_accuracy_high"),
        *("trainable_parameters", "total_seconds"),
    ]
    assert "freezing" not in default_columns(table, 80)
    assert "status" in default_columns(make_table(), 40)
    assert "stand_ins" in default_columns(make_table(), 40)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["all", "head-only", "x" * 60]), st.integers(0, 9999)), max_size=4
    ),
    st.integers(80, 200),
)
def test_default_columns_keep_to_the_line(settings: list[tuple[str, int]], width: int) -> None:
    records = [make_record(spec=make_spec(seed, {"name": name})) for name, seed in settings]
    table = results_table(
        StoredRun(Path(f"20251121T101729Z-gpt2-sms-spam-{i:08d}"), r) for i, r in enumerate(records)
    )
    assert folded_width(table[default_columns(table, width)]) <= width


def test_cells_are_rectangular() -> None:
    table = make_table()
    assert [len(row) for row in cells(table)] == [len(table.columns)] * 2
    assert cells(results_table([])) == []
