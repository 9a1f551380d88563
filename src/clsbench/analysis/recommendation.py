"""Recommend an approach: the cheapest one that no other beats significantly.

costs → approaches from cheap to dear → paired tests → recommendation
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from clsbench.analysis.comparison import Contender, Cost, Pair, RunComparison
from clsbench.analysis.standing import standing


class Approach(NamedTuple):
    """A contender, and what it costs to train, with tuning."""

    contender: Contender
    cost: Cost


class Gain(NamedTuple):
    """A dearer approach, compared with the recommended one; ``pair`` is ``None`` without a test."""

    approach: Approach
    pair: Pair | None


class Recommendation(NamedTuple):
    """The cheapest approach that no other beats significantly.

    ``next_dearer`` is the next one in the order of costs, ``best_dearer`` the dearer one with the
    best score, unless that is the next one or has no better score.
    """

    chosen: Approach
    next_dearer: Gain | None
    best_dearer: Gain | None


def candidates(comparison: RunComparison) -> list[Contender]:
    """The contenders with the most training texts, which may be recommended.

    The others show what fewer texts would give; who has the texts can use all of them.
    """
    most = max(each.train_texts for each in comparison.contenders)
    return [each for each in comparison.contenders if each.train_texts == most]


def from_cheap_to_dear(
    comparison: RunComparison, costs: Mapping[str, Cost] | None = None
) -> list[Approach]:
    """The candidates that have the primary metric, ordered by the seconds of training.

    Baselines count as cheaper than fine-tuned models. Their seconds include those of classifying
    1,000 texts: only some of them need the backbone. Fine-tuned models all do, so for them that
    time would mostly add noise. ``costs`` replace those of training of the contenders of these
    names. Of equal costs, the better one comes first; unknown ones are last.
    """
    approaches = [
        Approach(each, (costs or {}).get(each.name) or _own_cost(each))
        for each in candidates(comparison)
        if each.score is not None
    ]

    def order(each: Approach) -> tuple[bool, float, float]:
        training = math.inf if each.cost.seconds is None else each.cost.seconds
        fine_tuned = bool(each.contender.runs)
        predicting = 0.0 if fine_tuned else each.contender.prediction_seconds or 0.0
        return fine_tuned, training + predicting, comparison.metric.order(each.contender.score)

    return sorted(approaches, key=order)


def recommend(comparison: RunComparison, costs: Mapping[str, Cost] | None = None) -> Recommendation:
    """The recommendation; see :func:`from_cheap_to_dear` for ``costs``."""
    approaches = from_cheap_to_dear(comparison, costs)

    def score(each: Approach) -> float:
        return comparison.metric.order(each.contender.score)

    def against(each: Approach, other: Approach) -> Pair | None:
        return standing(comparison, each.contender.name, other.contender.name)

    def beaten(each: Approach) -> bool:
        pairs = (against(other, each) for other in approaches)
        return any(pair is not None and pair.verdict == "better" for pair in pairs)

    best = min(range(len(approaches)), key=lambda place: score(approaches[place]))
    place = next((n for n, each in enumerate(approaches) if not beaten(each)), best)
    chosen, *dearer = approaches[place:]
    if not dearer:
        return Recommendation(chosen, None, None)
    gains = [Gain(each, against(each, chosen)) for each in dearer]
    top = min(gains, key=lambda gain: score(gain.approach))
    better = score(top.approach) < score(chosen)
    return Recommendation(chosen, gains[0], top if better and top is not gains[0] else None)


def _own_cost(each: Contender) -> Cost:
    if not each.runs:
        return Cost(each.baseline_seconds, prefix_found=False)
    return Cost(each.prefix_and_training_seconds, each.prefix_found)
