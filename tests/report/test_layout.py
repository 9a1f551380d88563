from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from clsbench.report.layout import Row, fitting_table, line_width
from clsbench.report.wording import folded

ROWS = [
    Row(Text("validation"), ["1,045", "95.67 %"], "95.67 % of 1,045"),
    Row(Text("tfidf-logreg:ngrams=1,c=1.0"), ["300", "90.00 %"], "90.00 % of 300"),
]


def drawn(width: int) -> str:
    file = io.StringIO()
    table = fitting_table("split", ["texts", "accuracy"], [ROWS], width)
    Console(file=file, width=width).print(table)
    return file.getvalue()


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 40))
def test_folded_lines_hold_the_whole_text(text: str, width: int) -> None:
    lines = folded(text, width).split("\n")
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("head-only:final_norm=false", 18, ["head-only:", "final_norm=false"]),
        ("20251121T101729Z-gpt2-sms-spam-1a2b3c4d", 17, None),
        ("synthetic-sms, gpt2-nano", 14, ["synthetic-sms,", "gpt2-nano"]),
        ("abcdefg", 3, ["abc", "def", "g"]),
    ],
)
def test_texts_are_broken_behind_marks(text: str, width: int, lines: list[str] | None) -> None:
    expected = lines or ["20251121T101729Z-", "gpt2-sms-spam-", "1a2b3c4d"]
    assert folded(text, width).split("\n") == expected


def test_a_line_is_as_wide_as_it_is_drawn() -> None:
    cells = [[row.label.plain, *map(str, row.cells)] for row in ROWS]
    width = line_width(["split", "texts", "accuracy"], cells)
    assert max(map(len, drawn(200).splitlines())) == width


@pytest.mark.parametrize("width", [20, 30, 34, 36, 50, 80])
def test_figures_are_whole_whatever_the_width(width: int) -> None:
    text = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("95.67", "90.00", "1,045", "300"):
        assert figure in text
    assert ("accuracy" in text) == (width >= 34)
