"""Choose among the trials of a tuned row by their validation scores, and describe the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from clsbench.analysis.comparison import Cost
from clsbench.analysis.computed import with_computed_metric
from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics, read_metric
from clsbench.components.metric import Metric
from clsbench.results.store import StoredRun
from clsbench.results.suite_results import RowResult, RowTuning, SuiteResults, TrialResult
from clsbench.schema.tuning import TuneSpec

Edge = Literal["lowest", "highest"]


def validation_score(run: StoredRun, name: str, metric: Metric) -> float | None:
    """The score by which a trial is chosen: the primary metric on the whole validation split.

    Nothing else decides which trial is chosen; no figure of the test split does.
    """
    (computed,) = with_computed_metric([run], name, metric)
    metrics = computed.record.metrics
    return read_metric(metrics.validation, name) if metrics is not None else None


def choose(trials: Sequence[TrialResult], lower: bool = False) -> int | None:
    """The place of the trial with the best validation score; ``None`` if all have failed.

    The highest is the best, or with ``lower`` the lowest. Of equal scores, the lower validation
    loss decides, then the earlier trial. Losses are not compared if one is unknown: a run that is
    taken from the store may not have listed it.
    """
    known = [(place, each) for place, each in enumerate(trials) if each.score is not None]
    with_loss = all(each.validation_loss is not None for _, each in known)

    def order(place: int, trial: TrialResult) -> tuple[float, float, int]:
        score, loss = trial.score or 0.0, trial.validation_loss or 0.0
        return score if lower else -score, loss if with_loss else 0.0, place

    return min(order(*each) for each in known)[2] if known else None


def expected_best(scores: Sequence[float], lower: bool = False) -> tuple[float, ...]:
    """The expected best score of 1, 2, … trials, each drawn at random from ``scores``.

    The best is the highest, or with ``lower`` the lowest.

    Source: Dodge, Gururangan, Card, Schwartz and Smith, "Show Your Work: Improved Reporting of
    Experimental Results", EMNLP 2019, equations 1 to 7. Their estimate draws with replacement, so
    that the value for all trials is a little below the best score.
    """
    ordered, count = sorted(scores, reverse=lower), len(scores)
    return tuple(
        sum(
            score * ((place / count) ** trials - ((place - 1) / count) ** trials)
            for place, score in enumerate(ordered, 1)
        )
        for trials in range(1, count + 1)
    )


def edges(space: Mapping[str, Sequence[Any]], point: Mapping[str, Any]) -> dict[str, Edge]:
    """The keys whose chosen number is the lowest or highest of several that were tried."""
    found: dict[str, Edge] = {}
    for key, values in space.items():
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < max(len(values), 2) or key not in point:
            continue
        if point[key] == max(numbers):
            found[key] = "highest"
        elif point[key] == min(numbers):
            found[key] = "lowest"
    return found


class Choice(NamedTuple):
    """What was chosen for a row, and what it cost.

    ``metric`` is that of ``score`` and ``expected``. ``edges`` are the chosen values at an end of
    those tried. ``expected`` is the expected best score of 1, 2, … trials, empty for an adaptive
    tuner; failed trials are left out of it. ``cost`` is that of all trials.
    """

    row: RowResult
    point: Mapping[str, Any]
    metric: MetricInfo
    score: float
    edges: Mapping[str, Edge]
    expected: tuple[float, ...]
    trials: int
    failed: int
    cost: Cost


def choice(
    row: RowResult, tune: TuneSpec | None, metrics: ShownMetrics | None = None
) -> Choice | None:
    """The choice of a row; ``None`` if nothing is chosen yet. ``metrics`` describe the metric."""
    tuning = row.tuning
    chosen = tuning.chosen_trial if tuning is not None else None
    if tune is None or tuning is None or chosen is None or chosen.score is None:
        return None
    scores = [trial.score for trial in tuning.trials if trial.score is not None]
    return Choice(
        row=row,
        point=chosen.point,
        metric=_described(tuning, metrics or ShownMetrics()),
        score=chosen.score,
        edges=edges(tune.space, chosen.point),
        expected=() if tuning.adaptive else expected_best(scores, tuning.lower),
        trials=len(tuning.trials),
        failed=sum(trial.error is not None for trial in tuning.trials),
        cost=tuning_cost(tuning, tune),
    )


def _described(tuning: RowTuning, metrics: ShownMetrics) -> MetricInfo:
    known = (each for each in metrics.all() if each.name == tuning.metric)
    return next(known, replace(ACCURACY, name=tuning.metric, header=tuning.metric, unit=""))


def tuning_cost(tuning: RowTuning, tune: TuneSpec) -> Cost:
    """The time of the frozen prefix and of training, summed over all trials that finished.

    All trials have one prefix if nothing but training is tuned: if an earlier run computed it, its
    time counts once.
    """
    done = [trial for trial in tuning.trials if trial.run is not None]
    seconds = sum(trial.prefix_seconds + trial.training_seconds for trial in done)
    earlier = [trial.prefix_found_seconds for trial in done]
    if all(key.startswith("train.") for key in tune.space):
        earlier = [min(earlier, default=0.0)]
    return Cost(
        seconds + sum(earlier), prefix_found=bool(done) and all(t.prefix_found for t in done)
    )


def has_budget(row: RowResult, results: SuiteResults, problems: list[str]) -> bool:
    """Whether the row had as many trials as every other row; if not, it is not compared, and the
    reason is added to ``problems``."""
    budgets = [each.tuning.budget for each in results.rows if each.tuning is not None]
    if results.tune is None and not budgets:
        return True
    ended = sum(trial.ended for trial in row.tuning.trials) if row.tuning is not None else 0
    if ended == (budget := max(budgets, default=1)):
        return True
    problem = f"row {row.label} is not compared: it had {ended} of {budget} trials"
    problems += [problem] if problem not in problems else []
    return False
