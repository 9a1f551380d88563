"""The result of a comparison in one sentence: which row or baseline to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clsbench.analysis.comparison import Contender, RunComparison, compare_runs
from clsbench.analysis.dataset_ranks import Ranks
from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.standing import baseline_title, baselines, standing, trained
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.report.ranks import ranks_headline
from clsbench.report.wording import metric_text, superlative
from clsbench.results.store import StoredRun
from clsbench.schema.quantities import duration_text


class Headline(NamedTuple):
    """The sentence, and the contender it recommends."""

    sentence: str
    contender: Contender


def headline(
    comparison: RunComparison, name: Callable[[Contender], str], incomplete: bool = False
) -> Headline:
    """Which contender to use according to the tests of ``comparison``, and why.

    ``name`` returns the display name of a fine-tuned contender. ``incomplete``: some finished rows
    are not part of the comparison.
    """
    ranked = trained(comparison)
    best, top = ranked[0], next(iter(baselines(comparison)), None)
    tied = sum(_verdict(comparison, best, each) != "better" for each in ranked[1:])
    beaten = []
    if len(ranked) > 1 and not tied:
        beaten.append("every other row compared" if incomplete else "every other row")
    metric = comparison.metric
    score, rest = _score(best, metric), ""
    if top is None:
        rest = "; no baseline was run"
        if any(not each.runs for each in comparison.contenders):
            rest = f"; the baselines have no {metric.header}, which needs probabilities"
    else:
        verdicts = [_verdict(comparison, each, top) for each in ranked]
        if "better" not in verdicts:
            only = name(best) if len(ranked) == 1 else "every fine-tuned model"
            shown = _against_trained(verdicts, only)
            cost = _cost(top, metric)
            return Headline(f"Use {baseline_title(comparison, top)}: {cost}; {shown}.", top)
        baseline = f"{baseline_title(comparison, top)} ({_cost(top, metric)})"
        if verdicts[0] == "better":
            beaten.append(baseline)
        else:
            count = verdicts.count("better")
            verb = "is" if count == 1 else "are"
            rest = f"; {count} of {len(ranked)} rows {verb} significantly better than {baseline}"
    shown = f"; it is significantly better than {' and than '.join(beaten)}" if beaten else ""
    if not tied:
        return Headline(f"Use {name(best)}: {score}{shown}{rest}.", best)
    others = "1 other row is" if tied == 1 else f"{tied} other rows are"
    highest, value = f"the {superlative(metric)}", metric_text(metric, best.score)
    if any(metric.order(each.score) < metric.order(best.score) for each in comparison.contenders):
        highest += " of the fine-tuned models"
    return Headline(
        f"No single row wins: {name(best)} has {highest}, {value}, but {others} not "
        f"significantly worse{shown}{rest}.",
        best,
    )


def _against_trained(verdicts: Sequence[str | None], all_rows: str) -> str:
    """The test results of a baseline that no fine-tuned contender beats."""
    if all(verdict == "worse" for verdict in verdicts):
        return f"it is significantly better than {all_rows}"
    shown = "no fine-tuned model is significantly better"
    return f"{shown}, and not all could be tested against it" if None in verdicts else shown


def headline_of_runs(runs: Sequence[StoredRun], metrics: ShownMetrics) -> Headline:
    """The headline of finished runs; a single contender is named by its experiment.

    Raises:
        UsageError: their predictions are damaged.
    """
    comparison = compare_runs(runs, allow_single=True, metrics=metrics)
    experiments = {run.record.experiment for run in runs}

    def name(each: Contender) -> str:
        one = len(trained(comparison)) == 1 and len(experiments) == 1
        return str(*experiments) if one else each.name

    return headline(comparison, name)


def suite_headline(figures: SuiteFigures) -> Headline | None:
    """The headline of a suite's rows; ``None`` if they could not be compared.

    Over several data sets, the contender is the best method on the first of them.
    """
    if figures.ranks is not None:
        return Headline(ranks_headline(figures.ranks), _first_of_best(figures, figures.ranks))
    if figures.comparison is None:
        return None
    rows = {r.contender.name: r for r in reversed(figures.rows) if r.contender is not None}
    return headline(
        figures.comparison,
        lambda each: row_name(rows[each.name]) if each.name in rows else each.name,
        any(row.runs and row.contender is None for row in figures.rows),
    )


def _first_of_best(figures: SuiteFigures, ranks: Ranks) -> Contender:
    best = ranks.methods[0]
    titles = [f"{best.name}, {each.name}" for each in ranks.datasets]
    rows = figures.rows if best.rows else figures.further_baselines
    return next(
        row.contender
        for row in rows
        if row.contender is not None and (row.label in best.rows or row.title in titles)
    )


def row_name(row: RowFigures) -> str:
    """``row 3 (head-only)``."""
    return f"row {row.row.label} ({row.row.title})" if row.row.title else f"row {row.row.label}"


def _verdict(comparison: RunComparison, each: Contender, against: Contender) -> str | None:
    found = standing(comparison, each.name, against.name)
    return found.verdict if found is not None else None


def _cost(baseline: Contender, metric: MetricInfo) -> str:
    seconds = baseline.baseline_seconds
    took = f" in {duration_text(seconds)}" if seconds is not None else ""
    return _score(baseline, metric) + took


def _score(each: Contender, metric: MetricInfo) -> str:
    """``95.67 %``; a metric other than the accuracy is named: ``macro F1 0.9566``."""
    name = "" if metric.name == ACCURACY.name else f"{metric.header} "
    return name + metric_text(metric, each.score)
