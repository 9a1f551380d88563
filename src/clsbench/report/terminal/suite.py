"""A suite on a terminal: what it would run, and what its rows came to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from clsbench.analysis.comparison import found_prefix
from clsbench.analysis.suite_figures import RowFigures, SuiteFigures, suite_figures
from clsbench.analysis.suite_table import state_of
from clsbench.report.terminal.comparison import comparison_notes, rank_text
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.terminal.plan import recorded_adapter_note
from clsbench.report.wording import (
    bytes_text,
    percent,
    percent_interval,
    plain,
    points,
    seconds_text,
)

if TYPE_CHECKING:
    from clsbench.analysis.comparison import Contender
    from clsbench.results.suite_results import SuiteResults
    from clsbench.suites.run import PlannedRow, SuitePlan

_RESULTS = (
    "test accuracy",
    "95 %",
    "rank",
    "not in train",
    "calibration error",
    "published",
    "against published",
    "against row {}",
    "trained parameters",
    "time",
)
_OPTIONAL = (
    *("calibration error", "not in train", "trained parameters", "published", "rank"),
    *("against published", "95 %"),
)
"""The columns left out on a narrow terminal, in this order."""
_PLAN = ("runs", "in the store", "trained parameters", "memory", "prefix", "training", "a run")
_OPTIONAL_IN_PLAN = ("prefix", "training", "trained parameters", "memory")


def print_suite_plan(
    console: Console, plan: SuitePlan, stored: Collection[str], file: str = ""
) -> None:
    """What each row would run; ``stored`` holds the keys of the runs that need not be, ``file`` is
    what messages about a row begin with."""
    console.prose(f"{plan.suite.name}: {plan.suite.description}")
    rows = [_plan_row(row, stored) for row in plan.rows]
    table = fitting_table("row", _PLAN, [rows], console.width, _OPTIONAL_IN_PLAN, "--json")
    console.print(table)
    for row in plan.rows:
        if row.not_applicable is not None:
            message = f"{file}row {row.row.label} does not apply: {row.not_applicable}"
            console.prose(message, "yellow")
        elif row.problem is not None:
            message = f"{file}row {row.row.label} cannot be run: {row.problem}"
            console.prose(message, "red")
        elif row.runs and (note := recorded_adapter_note(row.runs[0].record)) is not None:
            console.prose(f"{file}row {row.row.label}: {note}", "yellow")
    if plan.rows:
        console.prose(_plan_sums(plan, stored))
    for warning in plan.warnings():
        console.prose(warning, "yellow")


def _plan_row(row: PlannedRow, stored: Collection[str]) -> Row:
    label = plain(f"{row.row.label}  {row.row.title}")
    if not row.runs:
        word = "does not apply" if row.not_applicable is not None else "cannot be run"
        return Row(label, (word, *("–",) * (len(_PLAN) - 1)))
    record = row.runs[0].record
    there = sum(run.key in stored for run in row.runs)
    cells = (
        str(len(row.runs)),
        str(there),
        f"{record.parameters.trainable:,}" if record.parameters is not None else "–",
        bytes_text(record.memory_bytes_expected) if record.memory_bytes_expected else "–",
        *_estimated(row),
    )
    return Row(label, cells)


def _estimated(row: PlannedRow) -> tuple[str, str, str]:
    if row.estimate is None:
        return ("–", "–", "–")
    training = row.estimate.training_seconds + row.estimate.evaluation_seconds
    prefix = row.estimate.prefix_seconds
    return (
        seconds_text(prefix) if prefix else "–",
        seconds_text(training),
        seconds_text(row.estimate.seconds),
    )


def _plan_sums(plan: SuitePlan, stored: Collection[str]) -> str:
    """What is left to be done, in all."""
    estimates = {
        run.key: row.estimate for row in plan.rows for run in row.runs if run.key not in stored
    }
    if not estimates:
        return "Every run is in the store; nothing is left to run."
    known = [each.seconds for each in estimates.values() if each is not None]
    message = f"{len(estimates)} runs to do, "
    if len(known) < len(estimates):
        message += f"{len(estimates) - len(known)} of which cannot be estimated; the others take "
    message += (
        f"about {seconds_text(sum(known))} in all: "
        "counted operations at the speed that this machine has just shown. Loading comes on top; "
        "a prefix that runs share, or that an earlier run has kept, is computed once."
    )
    return message


def print_suite(console: Console, results: SuiteResults, store: Path) -> SuiteFigures:
    """Print the rows, the baselines below them, and notes; return the figures."""
    figures = suite_figures(results, store)
    console.prose(f"{results.name}: {results.description}", "bold")
    for message in dict.fromkeys(
        f"STAND-IN: {s.by} in place of {s.replaced}: not the real experiment"
        for row in figures.rows
        if row.record is not None
        for s in row.record.stand_ins
    ):
        console.prose(message, "yellow")
    headers = tuple(h.format(figures.reference or "–") for h in _RESULTS)
    published = any(row.row.published is not None for row in figures.rows)
    rows = [_result_row(row, published) for row in figures.rows]
    groups = [rows, _baseline_rows(figures)]
    width = console.width
    console.print(fitting_table("row", headers, groups, width, _OPTIONAL, "clsbench report"))
    _print_notes(console, figures)
    return figures


def _result_row(figures: RowFigures, marked: bool) -> Row:
    row = figures.row
    label = plain(f"{row.label}  {row.title}" + (" *" if marked and row.modified else ""))
    if state_of(figures) == "in part":
        label.append(" (in part)", "yellow")
    if figures.record is None:
        word = state_of(figures)
        return Row(label, (Text(word, "yellow"), *("",) * (len(_RESULTS) - 1)))
    test = figures.accuracy["test"]
    published = row.published.accuracy.get("test") if row.published is not None else None
    difference = figures.difference_from_published("test")
    seconds = figures.mean_seconds()
    mark = " °" if any(map(found_prefix, figures.runs)) else ""
    parameters = figures.record.parameters
    cells = (
        percent(test.mean) if test.sd is None else f"{percent(test.mean)} ± {100 * test.sd:.2f}",
        percent_interval(figures.interval) if figures.interval is not None else "–",
        *_contender_cells(figures.contender),
        percent(published) if published is not None else "–",
        points(difference) if difference is not None else "–",
        _against_first(figures),
        f"{parameters.trainable:,}" if parameters is not None else "–",
        seconds_text(seconds) + mark if seconds is not None else "–",
    )
    return Row(label, cells)


def _contender_cells(each: Contender | None) -> tuple[str, str, str]:
    """What only a comparison can tell."""
    if each is None:
        return ("–", "–", "–")
    rest, error = each.accuracy_without_leaked, each.calibration_error
    return (
        rank_text(each.ranks),
        percent(rest) if rest is not None else "–",
        f"{error:.3f}" if error is not None else "–",
    )


def _against_first(figures: RowFigures) -> str | Text:
    if figures.row.same_as is not None:
        return f"= row {figures.row.same_as}"
    pair = figures.against_first
    if pair is None or pair.found is None or pair.verdict is None:
        return "–"
    difference = points(pair.found.difference)
    styles = {"better": "green", "worse": "red"}
    mark = "" if pair.verdict == "no difference shown" else " †"
    return Text(difference + mark, styles.get(pair.verdict, ""))


def _baseline_rows(figures: SuiteFigures) -> list[Row]:
    comparison = figures.comparison
    if comparison is None:
        return []
    rows = []
    for each in comparison.contenders:
        if each.runs:
            continue
        seconds = each.baseline_seconds
        cells = (
            percent(each.accuracy),
            percent_interval(each.interval),
            *_contender_cells(each),
            *("–",) * (len(_RESULTS) - 6),
            seconds_text(seconds) if seconds is not None else "–",
        )
        rows.append(Row(plain(each.name, "dim"), cells))
    return rows


def _print_notes(console: Console, figures: SuiteFigures) -> None:
    results = figures.results
    marked = any(row.row.modified and row.record is not None for row in figures.rows)
    published = any(row.row.published is not None for row in figures.rows)
    notes = []
    if figures.comparison is not None:
        texts = figures.comparison.texts
        notes.append(
            f"{texts:,} test texts. Rank: range consistent with the tests. †: significant at "
            "5 % (paired tests of all pairs, Holm's correction; clsbench compare has details)."
        )
        notes += comparison_notes(figures.comparison)
    if any(found_prefix(run) for row in figures.rows for run in row.runs):
        notes.append(
            "° some of its runs reused cached activations from an earlier run; from scratch they "
            "take longer."
        )
    if published:
        notes.append(f"Published: {results.origin}.")
        if marked:
            notes.append(
                "* another experiment than the suite means (changed by you, or a stand-in): what "
                "was published does not belong to it."
            )
        notes += [
            f"Row {row.label}: {row.published.remark}"
            for row in results.rows
            if row.published is not None and row.published.remark
        ]
    notes += [
        f"Row {row.label} does not apply: {row.not_applicable}"
        for row in results.rows
        if row.not_applicable is not None
    ]
    notes += figures.missing_in_words()
    if (message := figures.estimates_in_words()) is not None:
        notes.append(message)
    notes += figures.problems
    for note in notes:
        console.prose(note, "dim")
