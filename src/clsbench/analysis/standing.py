"""Where a contender stands in a comparison: against another one, and against the best."""

from __future__ import annotations

from clsbench.analysis.comparison import BASELINE, Contender, Pair, RunComparison


def standing(comparison: RunComparison, name: str, against: str) -> Pair | None:
    """``name`` against ``against``; ``None`` if they are the same or could not be compared."""
    for pair in comparison.pairs:
        if {pair.a, pair.b} == {name, against} and pair.found is not None:
            return pair if pair.b == name else pair.reversed()
    return None


def trained(comparison: RunComparison) -> list[Contender]:
    """The contenders other than baselines, the most accurate first, then the quickest; those that
    reused cached activations behind those whose whole cost is known."""
    found = [each for each in comparison.contenders if each.runs]
    return sorted(
        found,
        key=lambda each: (
            -each.accuracy,
            each.prefix_found,
            each.prefix_and_training_seconds or 0.0,
        ),
    )


def baselines(comparison: RunComparison) -> list[Contender]:
    """The baselines, the most accurate first."""
    found = [each for each in comparison.contenders if not each.runs]
    return sorted(found, key=lambda each: -each.accuracy)


def smallest_shown(comparison: RunComparison) -> float | None:
    """The smallest difference, as a fraction, that is more than chance; ``None`` if none is."""
    shown = [
        abs(pair.found.difference)
        for pair in comparison.pairs
        if pair.found is not None and pair.verdict in ("better", "worse")
    ]
    return min(shown, default=None)


def baseline_title(comparison: RunComparison, baseline: Contender) -> str:
    """A baseline's title, with its options if another baseline has the same title."""
    title = _title(baseline)
    same = [each for each in baselines(comparison) if _title(each) == title]
    return title if len(same) == 1 else f"{title} ({baseline.name.removeprefix(BASELINE)})"


def _title(baseline: Contender) -> str:
    """Its own, else its name without options."""
    return baseline.title or baseline.name.removeprefix(BASELINE).partition(":")[0]
