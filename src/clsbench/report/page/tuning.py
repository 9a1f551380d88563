"""The part of the page on tuning: what was chosen, and what fewer trials would have found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.tuning import Choice
from clsbench.report.tuning import choice_text, choices, tuning_text
from clsbench.report.wording import FOUND, metric_text
from clsbench.schema.quantities import duration_text

if TYPE_CHECKING:
    from clsbench.report.page.curves import Panels


class TunedRow(NamedTuple):
    """A tuned row: what was chosen (▲ ▼: an end of the values), its score, trials and time."""

    label: str
    title: str
    chosen: str
    score: str
    trials: str
    seconds: str


class TuningTable(NamedTuple):
    """The tuned rows, and the expected best score by number of trials."""

    text: str
    metric: str
    rows: tuple[TunedRow, ...]
    edges: bool
    expected: Panels | None


def tuning_table(figures: SuiteFigures) -> TuningTable | None:
    """The part of the page; ``None`` if no row was tuned."""
    from clsbench.report.page.curves import expected_panels

    tune, found = figures.results.tune, choices(figures)
    if tune is None or not found:
        return None
    curves = [(f"{each.row.label} {each.row.title}".strip(), each.expected) for each in found]
    return TuningTable(
        text=tuning_text(
            tune, found[0].trials, found[0].metric.header, found[0].metric.better == "lower"
        ),
        metric=found[0].metric.header,
        rows=tuple(map(_row, found)),
        edges=any(each.edges for each in found),
        expected=expected_panels([curve for curve in curves if len(curve[1]) > 1], found[0].metric),
    )


def _row(choice: Choice) -> TunedRow:
    cost = choice.cost
    time = duration_text(cost.seconds) if cost.seconds is not None else "–"
    failed = f" ({choice.failed} failed)" if choice.failed else ""
    return TunedRow(
        label=choice.row.label,
        title=choice.row.title,
        chosen=choice_text(choice),
        score=metric_text(choice.metric, choice.score),
        trials=f"{choice.trials}{failed}",
        seconds=time + (f" {FOUND}" if cost.prefix_found else ""),
    )
