"""Ranks over data sets in words and as a table."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from rank_examples import BASELINE, by_ranks, make_ranks

from clsbench.analysis.figures import ACCURACY
from clsbench.report.ranks import ranks_headline, ranks_note, ranks_sentences, ranks_table

FOUR = ("all", BASELINE, "head", "last")


@pytest.mark.parametrize(
    ("names", "ranks", "said"),
    [
        (
            FOUR,
            ["1234"] * 6,
            "Over 6 data sets, all ranks best (mean rank 1.00); TF-IDF is not significantly worse, "
            "head and last are (critical difference 1.91).",
        ),
        (
            FOUR[:2] + FOUR[3:],
            ["113"] * 8,
            "Over 8 data sets, all and TF-IDF rank best (mean rank 1.50); last is significantly "
            "worse (critical difference 1.17).",
        ),
        (
            FOUR,
            ["2134", "2134", "1234", "3421", "4312", "2143", "3142"],
            "Over 7 data sets, TF-IDF ranks best (mean rank 1.86), but the methods do not differ "
            "significantly (Friedman’s test: F = 0.93, p = 0.445).",
        ),
        (
            FOUR[:3],
            ["123"] * 5,
            "Over 5 data sets, all ranks best (mean rank 1.00). A test needs at least 6 data sets, "
            "so the ranks hold for these data sets only.",
        ),
        (
            FOUR[:2],
            ["12"] * 6,
            "Over 6 data sets, all ranks best (mean rank 1.00); TF-IDF is significantly worse "
            "(Wilcoxon’s signed-rank test: p = 0.031).",
        ),
        (
            FOUR[:2],
            ["12", "21"] * 3,
            "Over 6 data sets, all and TF-IDF rank best (mean rank 1.50), but both methods do not "
            "differ significantly (Wilcoxon’s signed-rank test: p = 1.000).",
        ),
    ],
    ids=["two-worse", "two-best", "not-significant", "too-few", "two-methods", "two-equal"],
)
def test_ranks_headline_names_the_best_and_what_is_worse(
    names: tuple[str, ...], ranks: list[str], said: str
) -> None:
    assert ranks_headline(make_ranks(by_ranks(names, ranks))) == said


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        (
            [-0.001] * 21 + [0.1] * 19,
            "B is significantly better than A by a test that weighs the sizes of the differences "
            "(Wilcoxon’s signed-rank test: p = 0.",
        ),
        ([-0.001] * 6 + [0.1] * 12, "B ranks best (mean rank 1.33); A is significantly worse"),
        ([-0.001] * 20 + [0.1] * 20, "B is significantly better than A by a test"),
    ],
    ids=["against-the-ranks", "with-the-ranks", "equal-ranks"],
)
def test_ranks_headline_of_two_methods_agrees_with_their_test(
    gains: list[float], said: str
) -> None:
    ranks = make_ranks({"A": [0.5] * len(gains), "B": [0.5 + gain for gain in gains]})
    assert ranks_headline(ranks).startswith(f"Over {len(gains)} data sets, {said}")
    assert ranks_table(ranks)["against_best"].tolist() == ["best", "worse"]
    assert ranks.tied == ()


def test_ranks_headline_lower_is_better_for_a_loss() -> None:
    loss = replace(ACCURACY, better="lower", header="log-loss")
    ranks = make_ranks(by_ranks(FOUR[:3], ["123"] * 6), metric=loss)
    assert ranks_headline(ranks).startswith("Over 6 data sets, head ranks best (mean rank 1.00);")
    assert ranks_sentences(ranks)[0].startswith("head has the lowest log-loss on 6 of 6 data sets")


def test_ranks_sentences_count_wins_and_name_what_is_left_out() -> None:
    found = make_ranks(by_ranks(FOUR[:3], ["123", "123", "113", "213"]), left_out=("x: why", "y"))
    assert ranks_sentences(found) == [
        "all has the highest accuracy on 3 of 4 data sets, equal methods included.",
        "Not ranked: x: why; y.",
    ]


def test_ranks_sentences_significant_test_without_a_significant_pair_is_explained() -> None:
    ranks = ["1234"] * 4 + ["2143", "1243", "2134", "4123", "1342", "3412"]
    found = make_ranks(by_ranks(FOUR, ranks))
    assert found.test is not None
    narrow = replace(found, test=replace(found.test, p=0.04, critical_difference=2.5))
    assert ranks_sentences(narrow)[1].startswith(
        "The methods differ as a whole, but there are too few data sets to say which (Friedman’s"
    )


def test_ranks_note_explains_the_critical_difference() -> None:
    note = ranks_note(make_ranks(by_ranks(FOUR, ["1234"] * 6)))
    assert "Friedman’s test: equal ranks on all data sets, p < 0.001." in note
    assert "differ by 1.91 or more (Nemenyi’s critical difference at 5 %" in note
    few = ranks_note(make_ranks(by_ranks(FOUR, ["1234"] * 2)))
    assert "Friedman" not in few
    assert few.endswith("texts of different data sets are not compared.")


def test_ranks_table_has_a_row_per_method_and_a_column_per_data_set() -> None:
    table = ranks_table(make_ranks(by_ranks(FOUR, ["1243"] * 6)))
    assert [*table] == ["method", "mean_rank", "against_best", *(f"{c}.csv" for c in "abcdef")]
    assert table["method"].tolist() == ["all", "TF-IDF", "last", "head"]
    assert table["against_best"].tolist() == ["best", "not worse", "worse", "worse"]
    assert table["b.csv"].tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert "against_best" not in ranks_table(make_ranks(by_ranks(FOUR, ["1243"])))
