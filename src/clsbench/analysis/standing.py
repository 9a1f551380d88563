"""Where a contender stands in a comparison: against another one, and against the best."""

from __future__ import annotations

from typing import NamedTuple

from clsbench.analysis.comparison import Contender, RunComparison
from clsbench.analysis.paired import Verdict


class Standing(NamedTuple):
    """One contender against another: ``difference`` is its accuracy less the other's, a fraction.

    ``only_this`` and ``only_other`` count the texts that one alone calls right, a mean over
    ``seeds``; ``p`` has Holm's correction.
    """

    difference: float
    interval: tuple[float, float]
    verdict: Verdict
    p: float
    only_this: float
    only_other: float
    seeds: int


_OPPOSITE: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


def standing(comparison: RunComparison, name: str, against: str) -> Standing | None:
    """``name`` against ``against``; ``None`` where they are one, or could not be paired."""
    for pair in comparison.pairs:
        if {pair.a, pair.b} != {name, against}:
            continue
        found, verdict, p = pair.found, pair.verdict, pair.p_corrected
        if found is None or verdict is None or p is None:
            return None
        if pair.b == name:
            return Standing(found.difference, found.interval, verdict, p, found.only_b,
                            found.only_a, found.seeds)  # fmt: skip
        low, high = found.interval
        return Standing(0.0 - found.difference, (0.0 - high, 0.0 - low),
                        _OPPOSITE.get(verdict, verdict), p, found.only_a, found.only_b,
                        found.seeds)  # fmt: skip
    return None


def trained(comparison: RunComparison) -> list[Contender]:
    """The contenders that are no baselines, the most accurate first, then the quickest; those that
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
