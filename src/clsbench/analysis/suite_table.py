"""The columns of tables of a suite's rows and baselines.

Tables on the terminal and on the page show the columns with a header. CSV, Markdown, LaTeX and JSON
have one column per value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import pandas as pd

from clsbench.analysis.figures import ACCURACY, SCORES, WITHOUT_LEAKED, Direction, Metric
from clsbench.analysis.results_table import Kind, stand_in_names, typed_series
from clsbench.analysis.suite_figures import RowFigures, SuiteFigures
from clsbench.analysis.tuning import Choice
from clsbench.results.formats import to_json
from clsbench.schema.changes import changes_text

Form = Literal[
    "accuracy", "interval", "rank", "difference", "points", "metric", "published", "minutes",
    "count", "seconds", "bytes",
]  # fmt: skip
"""The format of the values of a column in one cell."""


class Value(NamedTuple):
    """A value of a row; ``brief``: Markdown and LaTeX contain it."""

    name: str
    kind: Kind
    read: Callable[[RowFigures], Any]
    brief: bool = True


class Column(NamedTuple):
    """Values that belong together and share a cell on the terminal and on the page.

    A column without a ``header`` is not shown there. ``{first}`` and ``{best}`` in the header are
    replaced by the labels of those rows. On a narrow terminal, columns with the lowest ``drop`` are
    left out first; 0 is never left out, and ``None`` is never shown. ``page`` is the table of the
    page that has the column; the first table fits a window of 1,440 pixels.
    """

    values: tuple[Value, ...]
    header: str = ""
    meaning: str = ""
    form: Form = "metric"
    metric: Metric = ACCURACY
    better: Direction | None = None
    drop: int | None = None
    page: Literal["first", "further", ""] = ""


# --- reading values of a row ----------------------------------------------------------------------


def _row(name: str) -> Callable[[RowFigures], Any]:
    return lambda each: getattr(each.row, name)


def _accuracy(split: str, name: str = "mean") -> Callable[[RowFigures], Any]:
    return lambda each: getattr(each.accuracy[split], name) if split in each.accuracy else None


def _interval(end: int) -> Callable[[RowFigures], Any]:
    return lambda each: each.interval[end] if each.interval is not None else None


def _rank(end: Literal["best", "worst"]) -> Callable[[RowFigures], Any]:
    """Baselines fitted on fewer texts than those of the comparison have no rank in it."""

    def read(each: RowFigures) -> int | None:
        ranked = each.fitted_on is None or each.against_best is not None
        return getattr(each.contender.ranks, end) if ranked and each.contender else None

    return read


def _choice(read: Callable[[Choice], Any]) -> Callable[[RowFigures], Any]:
    return lambda each: read(each.choice) if each.choice is not None else None


def _against(which: Literal["first", "best"]) -> tuple[Value, Value]:
    name = f"against_{which}"

    def difference(each: RowFigures) -> float | None:
        pair = getattr(each, name)
        return pair.found.difference if pair is not None else None

    def verdict(each: RowFigures) -> str | None:
        pair = getattr(each, name)
        return pair.verdict if pair is not None else None

    return Value(name, "number", difference), Value(f"{name}_verdict", "text", verdict)


def _leaked_interval(end: int) -> Callable[[RowFigures], Any]:
    """Known for a single seed only."""

    def read(each: RowFigures) -> float | None:
        rest = each.tests[0].without_leaked if len(each.tests) == 1 else None
        return rest.interval[end] if rest is not None else None

    return read


def _published_accuracy(each: RowFigures) -> float | None:
    published = each.row.published
    return published.accuracy.get("test") if published is not None else None


def _trainable(each: RowFigures) -> int | None:
    if each.record is not None and each.record.parameters is not None:
        return each.record.parameters.trainable
    return each.contender.trainable_parameters if each.contender is not None else None


def _parameters(each: RowFigures) -> int | None:
    record = each.record
    return record.parameters.total if record is not None and record.parameters is not None else None


def _peak(each: RowFigures) -> int | None:
    peaks = [run.record.peak_memory_bytes or 0 for run in each.runs]
    return max(peaks, default=0) or None


def _score(metric: Metric) -> Column:
    name = metric.column or f"test_{metric.name}"
    return Column(
        (Value(name, "number", lambda each: each.scores.get(metric.name)),),
        metric.header,
        metric.meaning,
        metric=metric,
        better=metric.better,
        drop=metric.drop if metric.summary else None,
        page="further",
    )


COLUMNS: tuple[Column, ...] = (
    Column(
        (
            Value("row", "text", _row("label")),
            Value("title", "text", _row("title")),
            Value("baseline", "flag", lambda each: each.baseline, brief=False),
            Value("state", "text", lambda each: each.state),
            Value("same_as", "text", _row("same_as"), brief=False),
            Value("modified", "flag", _row("modified"), brief=False),
            Value("stand_ins", "text",
                  lambda each: stand_in_names(each.record) if each.record is not None else ""),
            Value("train_texts", "count", lambda each: each.train_texts),
            Value("seeds", "count",
                  lambda each: len({run.record.spec["seed"] for run in each.runs}) or None),
        ),
    ),
    Column(
        (
            Value("test_accuracy", "number", lambda each: each.test_accuracy),
            Value("test_accuracy_sd", "number", _accuracy("test", "sd")),
        ),
        "test accuracy",
        "Share of the test texts classified correctly; over several seeds their mean and standard "
        "deviation.",
        "accuracy",
        better="higher",
        drop=0,
        page="first",
    ),
    Column(
        (
            Value("test_accuracy_low", "number", _interval(0)),
            Value("test_accuracy_high", "number", _interval(1)),
        ),
        "95 % interval",
        "Wilson’s interval over texts; from three seeds on, widened by Student’s over seeds. The "
        "dashed line marks the best baseline.",
        "interval",
        better="higher",
        drop=90,
        page="first",
    ),
    Column(
        (
            Value("rank_best", "count", _rank("best")),
            Value("rank_worst", "count", _rank("worst")),
        ),
        "rank",
        "The ranks consistent with all pairwise tests.",
        "rank",
        better="lower",
        drop=70,
        page="first",
    ),
    Column(
        _against("first"),
        "against row {first}",
        "Accuracy minus that of row {first}, in percentage points; †: significant at 5 % (paired "
        "test on the same texts, Holm’s correction over all pairs).",
        "difference",
        better="higher",
        drop=0,
        page="first",
    ),
    Column(
        _against("best"),
        "against row {best}",
        "Accuracy minus that of row {best}, the most accurate, in percentage points.",
        "difference",
        better="higher",
        page="first",
    ),
    Column(
        (
            Value("test_accuracy_without_leaked", "number",
                  lambda each: each.accuracy_without_leaked),
            Value("without_leaked_low", "number", _leaked_interval(0), brief=False),
            Value("without_leaked_high", "number", _leaked_interval(1), brief=False),
        ),
        WITHOUT_LEAKED.header,
        "Accuracy on the test texts that do not occur word for word in the training split, with "
        "its 95 % interval.",
        metric=WITHOUT_LEAKED,
        better="higher",
        drop=30,
        page="further",
    ),
    *(
        Column(
            (Value(f"{split}_accuracy", "number", _accuracy(split), brief=False),),
            split,
            f"Accuracy on the {split} texts.",
            better="higher",
            page="further",
        )
        for split in ("validation", "train")
    ),
    Column(
        (Value("published_test_accuracy", "number", _published_accuracy),),
        "published",
        "The published test accuracy of the suite’s row.",
        "published",
        better="higher",
        drop=60,
        page="first",
    ),
    Column(
        (
            Value("difference_from_published", "number",
                  lambda each: each.difference_from_published("test")),
        ),
        "against published",
        "Measured minus published test accuracy, in percentage points; missing for rows that were "
        "changed or use stand-ins.",
        "points",
        better="higher",
        drop=80,
        page="first",
    ),
    Column(
        (
            Value("published_minutes", "number",
                  lambda each: each.row.published.minutes if each.row.published else None),
        ),
        "published minutes",
        "The published training time; the notes name the hardware.",
        "minutes",
        better="lower",
        page="further",
    ),
    *map(_score, SCORES),
    Column(
        (Value("trainable_parameters", "count", _trainable),),
        "trained parameters",
        "Number of parameters that are trained.",
        "count",
        better="lower",
        drop=35,
        page="first",
    ),
    Column((Value("total_parameters", "count", _parameters, brief=False),)),
    Column(
        (
            Value("prefix_and_training_seconds", "number", lambda each: each.cost.seconds),
            Value("prefix_found", "flag", lambda each: each.prefix_found),
        ),
        "training time",
        "Time to compute the frozen layers once and to train, without loading and evaluation; for "
        "a baseline, the total time. ° marks rows that reused cached activations from an earlier "
        "run; from scratch they take longer.",
        "seconds",
        better="lower",
        drop=0,
        page="first",
    ),
    Column(
        (
            Value("tuning_seconds", "number", _choice(lambda chosen: chosen.cost.seconds)),
            Value("tuning_prefix_found", "flag",
                  _choice(lambda chosen: chosen.cost.prefix_found), brief=False),
        ),
        "with tuning",
        "Training time of all trials of the row, the chosen one included.",
        "seconds",
        better="lower",
        drop=85,
        page="first",
    ),
    Column(
        (
            Value("chosen", "text", _choice(lambda chosen: changes_text(chosen.point))),
            Value("trials", "count", _choice(lambda chosen: chosen.trials)),
            Value("chosen_at_edge", "text",
                  _choice(lambda chosen: ", ".join(chosen.edges)), brief=False),
            Value("chosen_validation_score", "number", _choice(lambda chosen: chosen.score)),
        ),
    ),
    Column(
        (Value("total_seconds", "number", lambda each: each.mean_seconds()),),
        "whole run",
        "Time of all phases.",
        "seconds",
        better="lower",
        drop=5,
        page="further",
    ),
    Column(
        (Value("peak_memory_bytes", "count", _peak, brief=False),),
        "memory",
        "Peak memory of the process.",
        "bytes",
        better="lower",
        page="further",
    ),
)  # fmt: skip
"""All columns, in the order of all tables."""

VALUES = tuple(value for column in COLUMNS for value in column.values)

HAVING_RUNS = ("finished", "in part")
"""The states of rows that have results."""


def suite_table(figures: SuiteFigures) -> pd.DataFrame:
    """One row for each row of the suite and each baseline; unknown values are missing.

    If rows differ in their number of training texts, baselines have a row for each number.
    Accuracies and differences are fractions. ``prefix_found``: every run of the row reused cached
    activations, so from scratch it takes longer. ``against_first`` is the difference from the first
    row in the comparison, ``against_best`` from the most accurate.
    """
    rows = [*figures.rows, *figures.baselines, *figures.smaller_baselines]
    return pd.DataFrame(
        {each.name: typed_series(each.kind, [each.read(row) for row in rows]) for each in VALUES}
    )


def brief_table(figures: SuiteFigures) -> pd.DataFrame:
    """The table for Markdown and LaTeX: without details and without columns of usual values."""
    table = suite_table(figures)
    usual = {"state": "finished", "seeds": 1, "prefix_found": False}
    usual["train_texts"] = table["train_texts"].max()  # shown if the rows differ
    chosen = []
    for value in VALUES:
        known = table[value.name].dropna()
        known = known[known != ""]
        if value.brief and not known.empty and (known != usual.get(value.name)).any():
            chosen.append(value.name)
    return table[chosen]


def plain_figures(figures: SuiteFigures) -> dict[str, Any]:
    """The suite's results, table and comparison as plain values for JSON."""
    return {
        **msgspec.to_builtins(figures.results),
        "table": msgspec.json.decode(to_json(suite_table(figures))),
        "comparison": figures.comparison,
        "learning_curves": figures.curves,
        "problems": figures.problems,
    }
