"""The result of a comparison in one sentence: which row or baseline to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clsbench.analysis.comparison import Contender, Cost, RunComparison, compare_runs
from clsbench.analysis.dataset_ranks import Ranks
from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics
from clsbench.analysis.recommendation import candidates, recommend
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.standing import baseline_title, baselines, standing, trained
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.report.ranks import ranks_headline
from clsbench.report.wording import metric_text
from clsbench.results.store import StoredRun
from clsbench.schema.quantities import duration_text


class Headline(NamedTuple):
    """The sentence, and the contender it recommends."""

    sentence: str
    contender: Contender


def headline(
    comparison: RunComparison,
    name: Callable[[Contender], str],
    incomplete: bool = False,
    costs: Mapping[str, Cost] | None = None,
) -> Headline:
    """The cheapest candidate that no other beats significantly, and what the tests show of it.

    ``name`` returns the display name of a fine-tuned contender. ``incomplete``: some finished rows
    are not part of the comparison. ``costs`` are those with tuning, by contender.
    """
    compared = candidates(comparison)
    ranked = [each for each in trained(comparison) if each in compared]
    chosen = recommend(comparison, costs).chosen.contender
    metric = comparison.metric
    all_texts = ""
    if len(compared) < len(comparison.contenders):
        all_texts = f" with {chosen.train_texts:,} training texts"
    if not chosen.runs:
        verdicts = [_verdict(comparison, each, chosen) for each in ranked]
        only = name(ranked[0]) if len(ranked) == 1 else f"every fine-tuned model{all_texts}"
        shown = _against_trained(verdicts, only)
        title = baseline_title(comparison, chosen)
        return Headline(f"Use {title}: {_cost(chosen, metric)}; {shown}.", chosen)
    others = [each for each in ranked if each is not chosen]
    verdicts = [_verdict(comparison, chosen, each) for each in others]
    parts, beaten, rest = [f"Use {name(chosen)}: {_score(chosen, metric)}"], [], ""
    if set(verdicts) == {"better"}:
        every = "every other row compared" if incomplete else "every other row"
        beaten.append(every + all_texts)
    elif others:
        shown = f"no other row{all_texts} is significantly better"
        parts.append(f"{shown}, and not all could be tested" if None in verdicts else shown)
    top = next(iter(baselines(comparison)), None)
    if top is None:
        rest = "no baseline was run"
        if any(not each.runs for each in comparison.contenders):
            rest = f"the baselines have no {metric.header}, which needs probabilities"
    else:
        baseline = f"{baseline_title(comparison, top)} ({_cost(top, metric)})"
        if _verdict(comparison, chosen, top) == "better":
            beaten.append(baseline)
        else:
            count = sum(_verdict(comparison, each, top) == "better" for each in ranked)
            verb = "is" if count == 1 else "are"
            rows = f"{len(ranked)} rows{all_texts}"
            rest = f"{count} of {rows} {verb} significantly better than {baseline}"
    if beaten:
        parts.append(f"it is significantly better than {' and than '.join(beaten)}")
    return Headline("; ".join((*parts, rest) if rest else parts) + ".", chosen)


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
        costs_with_tuning(figures),
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


def costs_with_tuning(figures: SuiteFigures) -> dict[str, Cost]:
    """The cost of all trials of each tuned row, by contender."""
    return {
        row.contender.name: row.choice.cost
        for row in figures.rows
        if row.contender is not None and row.choice is not None
    }


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
