"""A suite on a terminal: what it would run, and what its rows came to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.text import Text

from clsbench.report.comparison import comparison_notes, rank_text
from clsbench.report.console import Console
from clsbench.report.layout import Row, fitting_table, line_width
from clsbench.report.plan import recorded_adapter_note
from clsbench.report.wording import (
    bytes_text,
    percent,
    percent_interval,
    plain,
    points,
    seconds_text,
)
from clsbench.results.comparison import found_prefix
from clsbench.results.suite_figures import RowFigures, SuiteFigures, suite_figures
from clsbench.results.suite_table import baseline_seconds, state_of

if TYPE_CHECKING:
    from clsbench.results.comparison import Contender
    from clsbench.results.suite_results import SuiteResults
    from clsbench.suites import PlannedRow, SuitePlan

T = TypeVar("T")

_RESULTS = (
    "test\naccuracy",
    "95 %",
    "rank",
    "not in\ntrain",
    "calibration\nerror",
    "pub-\nlished",
    "against\npublished",
    "against\nrow {}",
    "trained\nparameters",
    "time",
)
_WHERE_THERE_IS_ROOM = (3, 4)
"""The columns that are left out where all do not fit."""
_ROOM_FOR_LABELS = 32
_PLAN = ("runs", "in the\nstore", "trained\nparameters", "memory", "prefix", "training", "a run")


def print_suite_plan(console: Console, plan: SuitePlan, stored: Collection[str]) -> None:
    """What each row would run; ``stored`` holds the keys of the runs that need not be."""
    console.print(plain(f"{plan.suite.name}: {plan.suite.description}"), soft_wrap=True)
    rows = [_plan_row(row, stored) for row in plan.rows]
    console.print(fitting_table("row", _PLAN, [rows], console.width))
    for row in plan.rows:
        if row.not_applicable is not None:
            told = f"row {row.row.label} does not apply: {row.not_applicable}"
            console.print(plain(told, "yellow"), soft_wrap=True)
        elif row.problem is not None:
            told = f"row {row.row.label} cannot be run: {row.problem}"
            console.print(plain(told, "red"), soft_wrap=True)
        elif row.runs and (note := recorded_adapter_note(row.runs[0].record)) is not None:
            console.print(plain(f"row {row.row.label}: {note}", "yellow"), soft_wrap=True)
    if plan.rows:
        console.print(_plan_sums(plan, stored), soft_wrap=True)
    for warning in plan.warnings():
        console.print(plain(warning, "yellow"), soft_wrap=True)


def _plan_row(row: PlannedRow, stored: Collection[str]) -> Row:
    label = plain(f"{row.row.label}  {row.row.title}")
    if not row.runs:
        word = "does not apply" if row.not_applicable is not None else "cannot be run"
        return Row(label, ("–",) * len(_PLAN), word)
    record = row.runs[0].record
    there = sum(run.key in stored for run in row.runs)
    cells = (
        str(len(row.runs)),
        str(there),
        f"{record.parameters.trainable:,}" if record.parameters is not None else "–",
        bytes_text(record.memory_bytes_expected) if record.memory_bytes_expected else "–",
        *_estimated(row),
    )
    return Row(
        label, cells, f"{cells[0]} runs ({there} in the store), {cells[3]}, {cells[-1]} each"
    )


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


def _plan_sums(plan: SuitePlan, stored: Collection[str]) -> Text:
    """What is left to be done, in all."""
    estimates = {
        run.key: row.estimate for row in plan.rows for run in row.runs if run.key not in stored
    }
    known = [each.seconds for each in estimates.values() if each is not None]
    told = f"{len(estimates)} runs to do, "
    if len(known) < len(estimates):
        told += f"{len(estimates) - len(known)} of which cannot be estimated; the others take "
    told += (
        f"about {seconds_text(sum(known))} in all: "
        "counted operations at the speed that this machine has just shown. Loading comes on top; "
        "a prefix that runs share, or that an earlier run has kept, is computed once."
    )
    return plain(told)


def print_suite(console: Console, results: SuiteResults, store: Path) -> None:
    """The rows beside each other, the baselines below, and what is shown of whom."""
    figures = suite_figures(results, store)
    console.print(plain(f"{results.name}: {results.description}", "bold"), soft_wrap=True)
    for told in dict.fromkeys(
        f"STAND-IN: {s.by} in place of {s.replaced}: not the real experiment"
        for row in figures.rows
        if row.record is not None
        for s in row.record.stand_ins
    ):
        console.print(plain(told, "yellow"), soft_wrap=True)
    headers = tuple(h.format(figures.reference or "–") for h in _RESULTS)
    published = any(row.row.published is not None for row in figures.rows)
    rows = [_result_row(row, published) for row in figures.rows]
    groups = [rows, _baseline_rows(figures)]
    full = line_width(headers, [row.cells for group in groups for row in group])
    complete = full + _ROOM_FOR_LABELS <= console.width
    if not complete:
        headers = _narrower(headers)
        groups = [[row._replace(cells=_narrower(row.cells)) for row in rows] for rows in groups]
    console.print(fitting_table("row", headers, groups, console.width))
    _print_notes(console, figures, complete)


def _narrower(cells: Sequence[T]) -> tuple[T, ...]:
    return tuple(cell for at, cell in enumerate(cells) if at not in _WHERE_THERE_IS_ROOM)


def _result_row(figures: RowFigures, marked: bool) -> Row:
    row = figures.row
    label = plain(f"{row.label}  {row.title}" + (" *" if marked and row.modified else ""))
    if state_of(figures) == "in part":
        label.append(" (in part)", "yellow")
    if figures.record is None:
        word = state_of(figures)
        return Row(label, (Text(word, "yellow"), *("",) * (len(_RESULTS) - 1)), word)
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
    return Row(label, cells, f"{cells[0]} ({cells[1]}), {cells[-3]}, {cells[-1]}")


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
        seconds = baseline_seconds(figures, each.name)
        cells = (
            percent(each.accuracy),
            percent_interval(each.interval),
            *_contender_cells(each),
            *("–",) * (len(_RESULTS) - 6),
            seconds_text(seconds) if seconds is not None else "–",
        )
        words = f"{cells[0]} ({cells[1]}), {cells[-1]}"
        rows.append(Row(plain(each.name, "dim"), cells, words))
    return rows


def _print_notes(console: Console, figures: SuiteFigures, complete: bool) -> None:
    results = figures.results
    marked = any(row.row.modified and row.record is not None for row in figures.rows)
    published = any(row.row.published is not None for row in figures.rows)
    notes = []
    if figures.comparison is not None:
        texts = figures.comparison.texts
        notes.append(
            f"{texts:,} test texts. Ranks are the range that chance leaves open; † is more than "
            "chance (paired tests of all pairs, Holm's correction); clsbench compare says more"
            + (
                "."
                if complete
                else ", as do a wider terminal and the report: accuracy on texts not "
                "in train, and calibration."
            )
        )
        notes += comparison_notes(figures.comparison)
    if any(found_prefix(run) for row in figures.rows for run in row.runs):
        notes.append(
            "° some of its runs found frozen layers computed by an earlier one: alone it takes "
            "longer."
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
    if (told := figures.estimates_in_words()) is not None:
        notes.append(told)
    notes += figures.problems
    for note in notes:
        console.print(plain(note, "dim"), soft_wrap=True)
