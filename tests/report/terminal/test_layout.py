from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.wording import folded

ROWS = [
    Row(Text("validation"), ["1,045", "95.67 %", "198,786", "–"]),
    Row(Text("tfidf-logreg:ngrams=1,c=1.0"), ["300", "90.00 %", "–", "–"]),
]
HEADERS = ["texts", "test accuracy", "trained parameters", "published"]


def drawn(width: int, see: str = "--json") -> str:
    file = io.StringIO()
    optional = ("trained parameters", "texts")
    table = fitting_table("split", HEADERS, [ROWS], width, optional, see)
    Console(file=file, width=width).print(table)
    return file.getvalue()


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 40))
def test_folded_any_text_is_complete(text: str, width: int) -> None:
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
def test_folded_text_breaks_after_punctuation(
    text: str, width: int, lines: list[str] | None
) -> None:
    expected = lines or ["20251121T101729Z-", "gpt2-sms-spam-", "1a2b3c4d"]
    assert folded(text, width).split("\n") == expected


@pytest.mark.parametrize("width", [20, 30, 34, 36, 50, 60, 80, 200])
def test_table_numbers_are_complete_at_every_width(width: int) -> None:
    text = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("95.67 %", "90.00 %"):
        assert figure in text


@pytest.mark.parametrize("width", [44, 50, 80, 200])
def test_table_headers_break_between_words_only(width: int) -> None:
    words = drawn(width).partition("─")[0].split()
    assert set(words) <= {"split", "texts", "test", "accuracy", "trained", "parameters"}
    assert {"split", "test", "accuracy"} <= set(words)


def test_table_without_room_leaves_out_columns_in_order_and_names_them() -> None:
    def flat(width: int) -> str:
        return " ".join(drawn(width).split())

    assert "Not shown" not in flat(200)
    assert "space: trained parameters; a terminal of 59 columns or --json shows it." in flat(50)
    assert "space: texts and trained parameters; a terminal of 59 columns" in flat(36)
    assert "Not shown" not in flat(59)
    assert "trained parameters 198,786" in flat(24)  # a list, which has every column


def test_table_column_of_dashes_is_left_out() -> None:
    assert "published" not in drawn(200)


def test_table_label_breaks_after_a_comma_rather_than_a_hyphen() -> None:
    label = Text("last-token, last-blocks:n=1")
    file = io.StringIO()
    table = fitting_table("row", ["x" * 20], [[Row(label, ["1"])]], 46)
    Console(file=file, width=46).print(table)
    assert re.search(r"last-token, +1 +\n last-blocks:n=1", file.getvalue())
