"""Look up pairs in a comparison, and sort its contenders."""

from __future__ import annotations

from clsbench.analysis.comparison import Contender, Pair, RunComparison
from clsbench.analysis.sides import BASELINE


def standing(comparison: RunComparison, name: str, against: str) -> Pair | None:
    """The pair ``name`` against ``against``; ``None`` if they are equal or were not compared."""
    for pair in comparison.pairs:
        if {pair.a, pair.b} == {name, against} and pair.found is not None:
            return pair if pair.b == name else pair.reversed()
    return None


def trained(comparison: RunComparison) -> list[Contender]:
    """The contenders other than baselines, the best first by the primary metric.

    Of equally good ones, the fastest comes first; those that reused cached activations are last.
    """
    found = [each for each in comparison.contenders if each.runs]
    return sorted(
        found,
        key=lambda each: (
            comparison.metric.order(each.score),
            each.prefix_found,
            each.prefix_and_training_seconds or 0.0,
        ),
    )


def baselines(comparison: RunComparison) -> list[Contender]:
    """The baselines that have the primary metric, the best first."""
    found = [each for each in comparison.contenders if not each.runs and each.score is not None]
    return sorted(found, key=lambda each: comparison.metric.order(each.score))


def smallest_significant(comparison: RunComparison) -> float | None:
    """The smallest significant difference in the primary metric; ``None`` without any."""
    found = [
        abs(pair.found.difference)
        for pair in comparison.pairs
        if pair.found is not None and pair.verdict in ("better", "worse")
    ]
    return min(found, default=None)


def baseline_title(comparison: RunComparison, baseline: Contender) -> str:
    """A baseline's title, with its options if another baseline has the same title."""
    title = _title(baseline)
    same = [each for each in comparison.contenders if not each.runs and _title(each) == title]
    return title if len(same) == 1 else f"{title} ({baseline.name.removeprefix(BASELINE)})"


def _title(baseline: Contender) -> str:
    """Its title, or its name without options."""
    return baseline.title or baseline.name.removeprefix(BASELINE).partition(":")[0]
