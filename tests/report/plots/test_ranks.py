"""Critical-difference diagrams."""

from __future__ import annotations

from pathlib import Path

from rank_examples import BASELINE, by_ranks, make_ranks

from clsbench.report.plots.ranks import ranks_figure, save_ranks

NAMES = ("all", BASELINE, "head", "a $ign of " + "length" * 8)


def test_ranks_figure_joins_methods_that_do_not_differ() -> None:
    figure = ranks_figure(make_ranks(by_ranks(NAMES, ["1234"] * 6)))
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[:5] == ["1", "2", "3", "4", "critical difference 1.91"]
    assert texts[5:8] == ["all  1.00", "TF-IDF  2.00", "3.00  head"]
    assert texts[8].startswith("4.00  a $ign")
    assert texts[8].endswith("…")
    groups = [line for line in axes.lines if str(line.get_gid()).startswith("group-")]
    ends = [[round(float(x)) for x in line.get_xdata()] for line in groups]  # type: ignore[union-attr]
    assert ends == [[1, 2], [2, 3], [3, 4]]


def test_ranks_figure_without_a_test_has_neither_groups_nor_a_critical_difference() -> None:
    figure = ranks_figure(make_ranks(by_ranks(NAMES, ["1234"] * 2)))
    assert not any(str(line.get_gid()).startswith("group-") for line in figure.axes[0].lines)
    assert not any("critical" in text.get_text() for text in figure.axes[0].texts)


def test_save_ranks_same_ranks_give_the_same_file(tmp_path: Path) -> None:
    ranks = make_ranks(by_ranks(NAMES, ["1234"] * 6), stand_ins=("gpt2-nano:causal=true",))
    for name in ("a.svg", "b.svg"):
        save_ranks(ranks, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
