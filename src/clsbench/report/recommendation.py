"""What the recommended approach costs, and what a dearer one would gain, in words."""

from __future__ import annotations

from collections.abc import Callable

from clsbench.analysis.comparison import Contender
from clsbench.analysis.figures import MetricInfo
from clsbench.analysis.recommendation import Approach, Gain, Recommendation
from clsbench.report.wording import difference_text, metric_text
from clsbench.schema.quantities import duration_text

Names = Callable[[Contender], str]
"""The display name of a contender."""


def recommendation_text(
    found: Recommendation, metric: MetricInfo, name: Names, trials: int | None = None
) -> str:
    """The costs, and the gain of dearer approaches with its test; ``trials`` of a tuned row."""
    parts = [_costs(found.chosen, name, trials)]
    if found.next_dearer is None:
        parts.append("No approach that was tried is dearer.")
    else:
        parts.append(_gain("The next dearer approach", found.next_dearer, metric, name))
    if found.best_dearer is not None:
        parts.append(_gain("The best of the dearer ones", found.best_dearer, metric, name))
    if not found.chosen.contender.runs:
        parts.append(
            "Every run fits and stores its baselines; no command trains one alone, and clsbench "
            "export writes only fine-tuned models."
        )
    return " ".join(filter(None, parts))


def _costs(each: Approach, name: Names, trials: int | None) -> str:
    contender = each.contender
    own = contender.prefix_and_training_seconds if contender.runs else contender.baseline_seconds
    if own is None:
        return ""
    count = contender.trainable_parameters
    what = f"trains {count:,} parameters" if count is not None else "is trained"
    text = f"{capital(name(contender))} {what} in {duration_text(own)}"
    if trials is not None and trials > 1 and each.cost.seconds is not None:
        text += f" ({duration_text(each.cost.seconds)} with all {trials} trials)"
    if contender.prediction_seconds is not None:
        text += (
            f", and classifies 1,000 texts in about {duration_text(contender.prediction_seconds)}"
        )
    return f"{text}."


def _gain(what: str, gain: Gain, metric: MetricInfo, name: Names) -> str:
    contender, seconds = gain.approach.contender, gain.approach.cost.seconds
    took = f" in {duration_text(seconds)}" if seconds is not None else ""
    if contender.prediction_seconds is not None:
        took += f"; 1,000 texts in about {duration_text(contender.prediction_seconds)}"
    who = f"{what}, {name(contender)} ({metric_text(metric, contender.score)}{took}),"
    if gain.pair is None or gain.pair.found is None:
        return f"{who} could not be tested against it."
    found = gain.pair.found
    if found.difference == 0:
        return f"{who} is as good."
    better = metric.sign * found.difference > 0
    significant = "" if gain.pair.verdict in ("better", "worse") else "not "
    return (
        f"{who} is {'better' if better else 'worse'} by {difference_text(found, metric)}, which is "
        f"{significant}significant."
    )


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
