"""The terminal's table of what was chosen for tuned rows."""

from __future__ import annotations

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.tuning import Choice
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.tuning import choice_text, choices, shown_trials
from clsbench.report.wording import FOUND, metric_text, plain
from clsbench.schema.quantities import duration_text


def print_choices(console: Console, figures: SuiteFigures) -> None:
    """Print the chosen values, their validation score, and the expected best of fewer trials."""
    found = choices(figures)
    if not found:
        return
    counts = shown_trials(max(len(each.expected) for each in found))
    best = [f"best of {count}" for count in counts] if any(e.expected for e in found) else []
    rows = [_row(each, counts if best else []) for each in found]
    headers = ["chosen", f"validation {found[0].metric.header}", *best, "with tuning"]
    console.print(fitting_table("tuned row", headers, [rows], console.width, best, "--json"))
    if best:
        console.prose(
            "Best of n: the expected best validation score of n random trials (Dodge et al. 2019).",
            "dim",
        )


def _row(choice: Choice, counts: list[int]) -> Row:
    cost = choice.cost
    time = duration_text(cost.seconds) if cost.seconds is not None else "–"
    expected = [
        metric_text(choice.metric, choice.expected[count - 1])
        if count <= len(choice.expected)
        else "–"
        for count in counts
    ]
    return Row(
        plain(f"{choice.row.label}  {choice.row.title}"),
        (
            plain(choice_text(choice)),
            metric_text(choice.metric, choice.score),
            *expected,
            time + (f" {FOUND}" if cost.prefix_found else ""),
        ),
    )
