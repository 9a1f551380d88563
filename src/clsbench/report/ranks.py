"""Mean ranks over data sets in words and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsbench.analysis.dataset_ranks import RankedMethod, Ranks
from clsbench.analysis.ranks import FEWEST_DATASETS
from clsbench.report.wording import listed, superlative

if TYPE_CHECKING:
    import pandas as pd

RANK_ON_DATASET = (
    "Rank of a row: range consistent with paired tests against the other rows and the baselines on "
    "its own data set (Holm’s correction over the pairs of the data set)."
)
"""The note on the column of ranks in tables of rows."""


def ranks_headline(ranks: Ranks) -> str:
    """Which method ranks best, and which of the others are significantly worse."""
    best, *others = ranks.methods
    if best.mean_rank >= others[0].mean_rank and others[0].verdict == "worse":
        return (
            f"Over {len(ranks.datasets)} data sets, {best.name} is significantly better than "
            f"{others[0].name} by a test that weighs the sizes of the differences "
            f"({test_text(ranks)}), but not by mean rank ({best.mean_rank:.2f} against "
            f"{others[0].mean_rank:.2f})."
        )
    leading = [best, *(each for each in others if each.mean_rank == best.mean_rank)]
    text = (
        f"Over {len(ranks.datasets)} data sets, {_names(leading)} "
        f"rank{'s' if len(leading) == 1 else ''} best (mean rank {best.mean_rank:.2f})"
    )
    if ranks.test is None:
        return (
            f"{text}. A test needs at least {FEWEST_DATASETS} data sets, so the ranks hold for "
            "these data sets only."
        )
    if not ranks.test.significant:
        one = "both methods do" if len(ranks.methods) == 2 else "the methods do"
        return f"{text}, but {one} not differ significantly ({test_text(ranks)})."
    worse = [each for each in others if each.verdict == "worse"]
    tied = [each for each in others[len(leading) - 1 :] if each.verdict != "worse"]
    if not tied:
        parts = f"; {_names(worse)} {_are(worse)} significantly worse"
    elif not worse:
        parts = f"; {_names(tied)} {_are(tied)} not significantly worse"
    else:
        parts = (
            f"; {_names(tied)} {_are(tied)} not significantly worse, {_names(worse)} {_are(worse)}"
        )
    limit = ranks.test.critical_difference
    shown = f"critical difference {limit:.2f}" if limit is not None else test_text(ranks)
    return f"{text}{parts} ({shown})."


def ranks_sentences(ranks: Ranks) -> list[str]:
    """On how many data sets the best method leads, and what is not ranked."""
    best, *others = ranks.methods
    columns = zip(*(each.ranks for each in ranks.methods), strict=True)
    wins = sum(column[0] == min(column) for column in columns)
    found = [
        f"{best.name} has the {superlative(ranks.metric)} on {wins} of {len(ranks.datasets)} data "
        "sets, equal methods included."
    ]
    test = ranks.test
    if test is not None and test.significant and test.critical_difference is not None:
        span = others[-1].mean_rank - best.mean_rank
        if span < test.critical_difference:
            found.append(
                "The methods differ as a whole, but there are too few data sets to say which "
                f"({test_text(ranks)})."
            )
    if ranks.left_out:
        found.append(f"Not ranked: {'; '.join(ranks.left_out)}.")
    return found


def ranks_note(ranks: Ranks) -> str:
    """How the ranks are made and tested, and what they do not show."""
    text = (
        f"Ranks by test {ranks.metric.header}: 1 is the best on a data set, and equal methods "
        "share the mean of their ranks. "
    )
    if ranks.test is not None:
        text += f"{test_text(ranks)}. "
        if ranks.test.critical_difference is not None:
            text += (
                "If it is significant, methods differ significantly if their mean ranks differ by "
                f"{ranks.test.critical_difference:.2f} or more (Nemenyi’s critical difference at "
                "5 %, which depends on the number of methods). "
            )
    return (
        f"{text}Each data set counts once, whatever its number of texts; texts of different data "
        "sets are not compared."
    )


def ranks_table(ranks: Ranks) -> pd.DataFrame:
    """One row per method: its mean rank, its verdict and its score on each data set."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "method": [each.name for each in ranks.methods],
            "mean_rank": [each.mean_rank for each in ranks.methods],
            "against_best": [verdict_text(each, ranks).rstrip(" †") for each in ranks.methods],
            **{
                dataset.name: [each.scores[place] for each in ranks.methods]
                for place, dataset in enumerate(ranks.datasets)
            },
        }
    )
    return table if ranks.test is not None else table.drop(columns="against_best")


def verdict_text(method: RankedMethod, ranks: Ranks) -> str:
    """``best``, ``worse †`` or ``not worse``; empty without a test."""
    if ranks.test is None:
        return ""
    return {None: "best", "worse": "worse †"}.get(method.verdict, "not worse")


def _names(methods: list[RankedMethod]) -> str:
    return listed([each.name for each in methods])


def _are(methods: list[RankedMethod]) -> str:
    return "is" if len(methods) == 1 else "are"


def test_text(ranks: Ranks) -> str:
    """``Friedman's test over 14 data sets: F = 3.69, p = 0.020``."""
    test = ranks.test
    assert test is not None
    p = f"p = {test.p:.3f}" if test.p >= 0.001 else "p < 0.001"
    if test.name == "wilcoxon":
        return f"Wilcoxon’s signed-rank test: {p}"
    statistic = f"F = {test.f:.2f}" if test.f is not None else "equal ranks on all data sets"
    return f"Friedman’s test: {statistic}, {p}"
