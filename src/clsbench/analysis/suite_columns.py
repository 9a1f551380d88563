"""The columns of tables of a suite's rows and baselines.

Tables on the terminal and on the page show the columns with a header. CSV, Markdown, LaTeX and JSON
have one column per value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from clsbench.analysis.figures import ACCURACY, WITHOUT_LEAKED, MetricInfo, ShownMetrics
from clsbench.analysis.results_table import Kind, stand_in_names
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.tuning import Choice
from clsbench.components.metric import Direction
from clsbench.schema.changes import changes_text

Form = Literal[
    "score", "interval", "rank", "difference", "points", "metric", "published", "minutes",
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
    metric: MetricInfo = ACCURACY
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
        ranks = each.contender.ranks if ranked and each.contender is not None else None
        return getattr(ranks, end) if ranks is not None else None

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


_NAMES = {"ece": "calibration_error", "brier": "brier"}
"""Columns of metrics whose names do not begin with the split."""


def _score(metric: MetricInfo) -> Column:
    name = _NAMES.get(metric.name, f"test_{metric.column}")
    return Column(
        (Value(name, "number", lambda each: each.scores.get(metric.column)),),
        _literal(metric.header),
        _literal(metric.meaning),
        metric=metric,
        better=metric.better,
        drop=metric.priority if metric.summary else None,
        page="further",
    )


def _primary(metric: MetricInfo) -> tuple[Column, ...]:
    """The primary metric with its interval, and the accuracy if that is another."""
    name = f"test_{metric.column}"
    further: tuple[Column, ...] = ()
    over_texts = "Wilson’s interval over texts"
    meaning = "Share of the test texts classified correctly"
    if metric.name != ACCURACY.name:
        over_texts = "A bootstrap over texts"
        accuracy = Value("test_accuracy", "number", lambda each: each.test_accuracy)
        sd = Value("test_accuracy_sd", "number", _accuracy("test", "sd"))
        further = (
            Column((accuracy, sd), "test accuracy", f"{meaning}.", "score", better="higher",
                   drop=55, page="further"),
        )  # fmt: skip
        meaning = _literal(metric.meaning).removesuffix(".")
    return (
        Column(
            (
                Value(name, "number", lambda each: each.score),
                Value(f"{name}_sd", "number", lambda each: each.score_sd),
            ),
            _literal(f"test {metric.header}"),
            f"{meaning}; over several seeds their mean and standard deviation.",
            "score",
            metric,
            better=metric.better,
            drop=0,
            page="first",
        ),
        Column(
            (
                Value(f"{name}_low", "number", _interval(0)),
                Value(f"{name}_high", "number", _interval(1)),
            ),
            "95 % interval",
            f"{over_texts}; from three seeds on, widened by Student’s over seeds. The dashed line "
            "marks the best baseline.",
            "interval",
            metric,
            better=metric.better,
            drop=90,
            page="first",
        ),
        *further,
    )


def _differences(metric: MetricInfo) -> tuple[Column, ...]:
    """The differences from the first and the best row."""
    what = _literal(metric.header[:1].upper() + metric.header[1:])
    unit = ", in percentage points" if metric.unit == "%" else ""
    best = "the most accurate" if metric.name == ACCURACY.name else "the best"
    return (
        Column(
            _against("first"),
            "against row {first}",
            f"{what} minus that of row {{first}}{unit}; †: significant at 5 % (paired test on the "
            "same texts, Holm’s correction over all pairs).",
            "difference",
            metric,
            better=metric.better,
            drop=0,
            page="first",
        ),
        Column(
            _against("best"),
            "against row {best}",
            f"{what} minus that of row {{best}}, {best}{unit}.",
            "difference",
            metric,
            better=metric.better,
            page="first",
        ),
    )


def _literal(text: str) -> str:
    """Text of a plugin, in which braces have no meaning."""
    return text.replace("{", "{{").replace("}", "}}")


_IDENTITY = (
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
            Value("dataset", "text", lambda each: each.ranked.dataset),
            Value("dataset_rank", "number", lambda each: each.ranked.rank),
            Value("mean_rank", "number", lambda each: each.ranked.mean_rank),
            Value("train_texts", "count", lambda each: each.train_texts),
            Value("seeds", "count",
                  lambda each: len({run.record.spec["seed"] for run in each.runs}) or None),
        ),
    ),
)  # fmt: skip
_RANK = (
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
)
_ACCURACIES = (
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
)  # fmt: skip
_COSTS = (
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
        "a baseline, the time to fit it and to classify all texts. If an earlier run computed the "
        "frozen layers, its time for them counts. ° marks rows for which that is unknown; from "
        "scratch they take longer.",
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


def columns(metrics: ShownMetrics) -> tuple[Column, ...]:
    """All columns, in the order of all tables."""
    primary = metrics.primary
    return (
        *_IDENTITY,
        *_primary(primary),
        *_RANK,
        *_differences(primary),
        *_ACCURACIES,
        *map(_score, metrics.others),
        *_COSTS,
    )
