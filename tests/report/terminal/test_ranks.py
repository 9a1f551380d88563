"""The terminal's table of methods ranked over data sets."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from rank_examples import BASELINE, by_ranks, make_ranks

from clsbench.report.terminal.console import Console
from clsbench.report.terminal.ranks import print_ranks


@pytest.mark.parametrize(("width", "shown"), [(120, "abcdef"), (60, "ab")])
def test_print_ranks_shows_methods_and_the_data_sets_that_fit(width: int, shown: str) -> None:
    file = io.StringIO()
    ranks = make_ranks(by_ranks(("all", BASELINE, "head"), ["123"] * 6))
    print_ranks(Console(file=file, width=width), ranks)
    text = file.getvalue()
    header = next(line for line in text.splitlines() if "method" in line)
    assert [name for name in "abcdef" if f"{name}.csv" in header] == [*shown]
    first, second, third = (line.split() for line in text.splitlines() if "0.00 %" in line)
    assert first[:4] == ["all", "1.00", "best", "90.00"]
    assert second[:5] == ["TF-IDF", "(baseline)", "2.00", "not", "worse"]
    assert third[:4] == ["head", "3.00", "worse", "†"]
    assert ("Not shown for lack of space: c.csv, d.csv, e.csv and f.csv" in text) == (width == 60)
    assert "texts of different data sets are not compared." in " ".join(text.split())


def test_print_ranks_without_a_test_has_no_verdicts() -> None:
    file = io.StringIO()
    print_ranks(Console(file=file, width=100), make_ranks(by_ranks(("all", "head"), ["12", "12"])))
    assert "against" not in file.getvalue()


def test_print_ranks_names_of_data_sets_are_no_markup() -> None:
    file = io.StringIO()
    ranks = make_ranks(by_ranks(("all", "head"), ["12", "12"]))
    first, second = ranks.datasets
    ranks = replace(ranks, datasets=(replace(first, name="[/red]\x1b.csv"), second))
    print_ranks(Console(file=file, width=100), ranks)
    assert "[/red]\\x1b.csv" in file.getvalue()
