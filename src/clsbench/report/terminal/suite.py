"""Terminal output of a suite: its plan and its results."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich.text import Text

from clsbench.analysis.comparison import reused_prefix
from clsbench.analysis.estimates import estimates_in_words
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.report.learning_curves import curves_in_words, curves_note
from clsbench.report.ranks import RANK_ON_DATASET
from clsbench.report.terminal.comparison import comparison_notes
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.terminal.plan import recorded_adapter_note
from clsbench.report.terminal.ranks import print_ranks
from clsbench.report.terminal.rows import rows_table
from clsbench.report.terminal.tuning import print_choices
from clsbench.report.tuning import tuning_notes, tuning_text
from clsbench.report.wording import REUSED, plain
from clsbench.schema.quantities import duration_text, size_text

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.results.suite_results import SuiteResults
    from clsbench.schema.record import RunRecord
    from clsbench.suites.planned import PlannedRow, SuitePlan

_PLAN = ("runs", "stored", "trained parameters", "memory", "prefix", "training", "each run")
_OPTIONAL_IN_PLAN = ("prefix", "training", "trained parameters", "memory")


def print_suite_plan(
    console: Console,
    plan: SuitePlan,
    stored: Collection[str],
    file: str = "",
    force: bool = False,
) -> None:
    """Print the plan of each row.

    ``stored`` holds the keys of runs that are already stored, which ``force`` repeats. ``file`` is
    the prefix of messages about a row.
    """
    console.prose(_heading(plan.suite.name, plan.suite.description))
    _print_stand_ins(console, [run.record for row in plan.rows for run in row.all_runs()])
    if plan.tuning is not None:
        tuning = plan.tuning
        console.prose(tuning_text(tuning.spec, tuning.trials, tuning.metric, tuning.lower))
    rows = [_plan_row(row, plan, stored) for row in plan.rows]
    table = fitting_table("row", _PLAN, [rows], console.width, _OPTIONAL_IN_PLAN, "--json")
    console.print(table)
    for row in plan.rows:
        if row.not_applicable is not None:
            message = f"{file}row {row.row.label} does not apply: {row.not_applicable}"
            console.prose(message, "yellow")
        elif row.problem is not None:
            message = f"{file}row {row.row.label} cannot be run: {row.problem}"
            console.prose(message, "red")
        elif (some := row.all_runs()) and (note := recorded_adapter_note(some[0].record)):
            console.prose(f"{file}row {row.row.label}: {note}", "yellow")
    if any(row.problem is None and row.not_applicable is None for row in plan.rows):
        console.prose(_plan_sums(plan, () if force else stored))
    for warning in plan.warnings():
        console.prose(warning, "yellow")


def _plan_row(row: PlannedRow, plan: SuitePlan, stored: Collection[str]) -> Row:
    label = plain(f"{row.row.label}  {row.row.title}")
    runs = row.all_runs()
    if not runs or row.problem is not None:
        word = "does not apply" if row.not_applicable is not None else "cannot be run"
        return Row(label, (word, *("–",) * (len(_PLAN) - 1)))
    record = runs[0].record
    keys = {run.key for run in runs}  # the chosen trial is among the trials, too
    cells = (
        str(len(keys) + plan.missing_trials(row) + plan.missing_repeats(row)),
        str(len(keys & set(stored))),
        f"{record.parameters.trainable:,}" if record.parameters is not None else "–",
        size_text(record.memory_bytes_expected) if record.memory_bytes_expected else "–",
        *_estimated(row),
    )
    return Row(label, cells)


def _estimated(row: PlannedRow) -> tuple[str, str, str]:
    """The means of its trials for a tuned row; the prefix is computed by the first of them."""
    known = [each for each in row.estimates().values() if each is not None]
    if not known:
        return ("–", "–", "–")
    training = fmean(each.training_seconds + each.evaluation_seconds for each in known)
    prefix = max(each.prefix_seconds for each in known)
    return (
        duration_text(prefix) if prefix else "–",
        duration_text(training),
        duration_text(prefix + training),
    )


def _plan_sums(plan: SuitePlan, stored: Collection[str]) -> str:
    """The number of runs to do, and an estimate of their time."""
    new: dict[str, float | None] = {}
    for row in plan.rows:
        seconds = _seconds_by_run(row)
        new |= {key: each for key, each in seconds.items() if key not in stored}
        known = [each for each in seconds.values() if each is not None]
        # Trials that are not proposed yet, and repetitions of the chosen one, take the mean time.
        for number in range(plan.missing_trials(row) + plan.missing_repeats(row)):
            new[f"{row.row.label} {number}"] = fmean(known) if known else None
    if not new:
        return "All runs are stored; nothing is left to run."
    known = [each for each in new.values() if each is not None]
    message = f"{len(new)} run{'' if len(new) == 1 else 's'} to do"
    if not known:
        return f"{message}; their time cannot be estimated."
    message += f", about {duration_text(sum(known))} in total"
    if len(known) < len(new):
        message += f" without {len(new) - len(known)} that cannot be estimated"
    return (
        f"{message} (from operation counts and the measured speed of this machine). Loading and "
        "other programs take additional time; a prefix that is cached or shared by several runs is "
        "computed once."
    )


def _seconds_by_run(row: PlannedRow) -> dict[str, float | None]:
    """The estimated seconds of its runs by key; the trials of a row share one prefix."""
    found: dict[str, float | None] = {}
    prefix = 0.0
    for key, each in row.estimates().items():
        found[key] = None
        if each is not None:
            found[key] = each.seconds - (min(prefix, each.prefix_seconds) if row.trials else 0.0)
            prefix = max(prefix, each.prefix_seconds)
    return found


def _heading(name: str, description: str) -> str:
    return f"{name}: {description}" if description else name


def _print_stand_ins(console: Console, records: Iterable[RunRecord | None]) -> None:
    """Name each stand-in of the runs once."""
    found = (stand_in for record in records if record for stand_in in record.stand_ins)
    for each in dict.fromkeys((stand_in.by, stand_in.replaced) for stand_in in found):
        by, replaced = each
        console.prose(f"STAND-IN: {by} in place of {replaced}: not the real experiment", "yellow")


def print_suite(
    console: Console, results: SuiteResults, store: Path, catalog: Catalog
) -> SuiteFigures:
    """Print the rows, the baselines below them, and notes; return the figures."""
    figures = suite_figures(results, store, catalog)
    console.prose(_heading(results.name, results.description), "bold")
    _print_stand_ins(console, [row.record for row in figures.rows])
    published = any(row.row.published is not None for row in figures.rows)
    groups = [
        [(_label(row, published), row) for row in figures.rows],
        [(plain(row.row.title, "dim"), row) for row in figures.baselines],
    ]
    see = "clsbench report"
    table = rows_table("row", groups, figures.metrics, console.width, see, figures.reference)
    console.print(table)
    print_choices(console, figures)
    if figures.ranks is not None:
        print_ranks(console, figures.ranks)
    if figures.curves is not None:
        for sentence in curves_in_words(figures.curves):
            console.prose(sentence)
        console.prose(curves_note(figures.curves), "dim")
    _print_notes(console, figures)
    return figures


def _label(figures: RowFigures, marked: bool) -> Text:
    row = figures.row
    label = plain(f"{row.label}  {row.title}" + (" *" if marked and row.modified else ""))
    if figures.state == "in part":
        label.append(" (in part)", "yellow")
    return label


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
    if figures.ranks is not None:
        notes.append(RANK_ON_DATASET)
    if any(reused_prefix(run) for row in figures.rows for run in row.runs):
        notes.append(REUSED)
    if published:
        notes.append(f"Published: {results.origin}.")
        if marked:
            notes.append(
                "* changed by an option or a stand-in: not the published experiment, so the "
                "published results do not apply."
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
    notes += tuning_notes(figures)
    notes += figures.missing_in_words()
    if (message := estimates_in_words(figures)) is not None:
        notes.append(message)
    notes += figures.problems
    for note in notes:
        console.prose(note, "dim")
