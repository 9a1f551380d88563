from __future__ import annotations

import csv
import io

import pytest

from clsbench.results.csvtext import csv_line, guarded_formula


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|'/c calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "\n=1", "=", "-", "＝1"]
)
def test_guarded_formula_begins_as_a_formula_gets_an_apostrophe(text: str) -> None:
    assert guarded_formula(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "a=b", "-0.5", "+1", "-1e-05", "-.5", "1-2", "'=1", " =1", "ham", "–"]
)
def test_guarded_formula_other_text_is_unchanged(text: str) -> None:
    assert guarded_formula(text) == text


def test_csv_line_with_guard_quotes_and_comes_back() -> None:
    line = csv_line(['=HYPERLINK("http://x","y")', "-0.5", "a,b"], guard_formulas=True)
    assert next(csv.reader(io.StringIO(line))) == ['\'=HYPERLINK("http://x","y")', "-0.5", "a,b"]


def test_csv_line_without_guard_is_unchanged() -> None:
    assert csv_line(["=1+1", "-x"]) == "=1+1,-x\n"


def test_csv_line_of_one_empty_field_is_not_a_blank_line() -> None:
    assert csv_line([""]) == '""\n'
    assert csv_line(["", ""]) == ",\n"
