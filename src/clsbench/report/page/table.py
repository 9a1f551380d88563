"""The table of rows and baselines in words, each cell with the value that it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from clsbench.analysis.suite_table import HAVING_RUNS
from clsbench.report.page.scales import readable_floor
from clsbench.report.page.scatter import FOUND
from clsbench.report.wording import bytes_text, percent, percent_interval, points, seconds_text

if TYPE_CHECKING:
    import pandas as pd

SHOWN = "†"
"""Marks a significant difference."""


class Cell(NamedTuple):
    """A cell: what it says, what it is sorted by, and its kind in the style sheet."""

    text: str
    value: float | str | None = None
    kind: str = ""


class Heading(NamedTuple):
    """A column: its name, what it means, and whether it is in the second table (``further``).

    The first table fits a window of 1,440 pixels, and both fit a printed page.
    """

    text: str
    meaning: str
    further: bool = False


class Whisker(NamedTuple):
    """An accuracy with its interval in a strip of 100 units."""

    low: float
    at: float
    high: float


class TableRow(NamedTuple):
    """A row or a baseline; ``anchor`` is unique on the page, ``words`` what a filter looks at."""

    label: str
    title: str
    marks: tuple[str, ...]
    baseline: bool
    alike: bool
    whisker: Whisker | None
    cells: tuple[Cell, ...]


class PageTable(NamedTuple):
    """The table; ``line`` is where the best baseline stands in the strips of the intervals,
    which reach over ``axis``."""

    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    line: float | None
    axis: tuple[str, str]
    stand_ins: str


def page_table(
    table: pd.DataFrame,
    first: str | None,
    best: str | None,
    alike: frozenset[str],
    titles: Mapping[str, str],
) -> PageTable:
    """The columns of :func:`suite_table` that hold something, for people.

    ``titles`` says what to call the baselines, by name.
    """
    rows = table.to_dict("records")
    low, high = _limits(rows)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 1)

    columns = [
        (heading, cell)
        for heading, cell in _columns(first, best)
        if any(cell(row).value is not None for row in rows)
    ]
    all_stand_in = all(r["stand_ins"] for r in rows if r["state"] in HAVING_RUNS and r["row"])
    found = []
    for row in rows:
        ends = (row["test_accuracy_low"], row["test_accuracy"], row["test_accuracy_high"])
        whisker = None
        if not any(map(math.isnan, ends)):
            whisker = Whisker(*map(place, ends))
        found.append(
            TableRow(
                label=row["row"],
                title=titles.get(row["title"], row["title"]),
                marks=_marks(row, all_stand_in),
                baseline=row["baseline"],
                alike=bool(row["row"]) and row["row"] in alike,
                whisker=whisker,
                cells=tuple(cell(row) for _, cell in columns),
            )
        )
    known = [
        r["test_accuracy"] for r in rows if r["baseline"] and not math.isnan(r["test_accuracy"])
    ]
    return PageTable(
        tuple(heading for heading, _ in columns),
        tuple(found),
        place(max(known)) if known else None,
        (f"{100 * low:.0f} %", f"{100 * high:.0f} %"),
        "STAND-INS in all rows." if all_stand_in else "STAND-INS in the rows so marked.",
    )


def _limits(rows: list[dict[Any, Any]]) -> tuple[float, float]:
    """The ends of the strips: all intervals but those far below the middle."""
    known = [row for row in rows if _there(row["test_accuracy_low"])]
    if not known:
        return 0.0, 1.0
    floor = readable_floor([row["test_accuracy"] for row in known])
    lowest = min(r["test_accuracy_low"] for r in known if r["test_accuracy"] >= floor)
    highest = max(row["test_accuracy_high"] for row in known)
    low, high = math.floor(20 * lowest) / 20, math.ceil(20 * highest) / 20
    return low, high if high > low else low + 0.05


def _marks(row: dict[Any, Any], all_stand_in: bool) -> tuple[str, ...]:
    marks = []
    if row["baseline"]:
        marks.append("baseline")
    if row["same_as"]:
        marks.append(f"= row {row['same_as']}")
    if row["stand_ins"] and not all_stand_in:
        marks.append("stand-ins")
    elif row["modified"] and not row["stand_ins"] and row["state"] in HAVING_RUNS:
        marks.append("modified")
    if row["state"] == "in part":
        marks.append("in part")
    if _there(row["seeds"]) and row["seeds"] > 1:
        marks.append(f"{row['seeds']} seeds")
    return tuple(marks)


_Column = tuple[Heading, Callable[[dict[Any, Any]], Cell]]


def _columns(first: str | None, best: str | None) -> list[_Column]:
    return [
        (
            Heading("test accuracy", "Share of the test texts classified correctly; over several "
                    "seeds their mean and standard deviation."),
            _accuracy,
        ),
        (
            Heading("95 % interval", "Wilson’s interval over texts; from three seeds on, widened "
                    "by Student’s over seeds. The dashed line is the best baseline."),
            _interval,
        ),
        (
            Heading("rank", "The ranks consistent with all pairwise tests."),
            _rank,
        ),
        (
            Heading(f"against row {best}", f"Accuracy less that of row {best}, the most "
                    f"accurate, in percentage points; {SHOWN} is significant at 5 % (paired test "
                    "on the same texts, Holm’s correction over all pairs)."),
            _difference("against_best"),
        ),
        (
            Heading(f"against row {first}", f"The same against row {first}."),
            _difference("against_first" if best != first else "nothing"),
        ),
        (
            Heading("training time", "Computing the frozen layers once and training, without "
                    "loading and evaluating; of a baseline all of it. ° marks rows that reused "
                    "cached activations from an earlier run; from scratch they take longer."),
            _seconds("prefix_and_training_seconds"),
        ),
        (
            Heading("trained", "Parameters that train."),
            _count("trainable_parameters"),
        ),
        (
            Heading("published", "The published test accuracy of the row as the suite means it."),
            _share("published_test_accuracy", "muted"),
        ),
        (
            Heading("less published", "Measured less published test accuracy; left out where a "
                    "change or a stand-in makes the row another experiment."),
            _points("difference_from_published"),
        ),
        (
            Heading("published minutes", "The published training time; the notes say on what.",
                    True),
            _published_minutes,
        ),
        (
            Heading("not in train", "Accuracy on the test texts that do not stand word for word in "
                    "the training split, with its 95 % interval.", True),
            _without_leaked,
        ),
        (
            Heading("validation", "Accuracy on the validation texts.", True),
            _share("validation_accuracy"),
        ),
        (Heading("train", "Accuracy on the training texts.", True), _share("train_accuracy")),
        (
            Heading("calibration error", "How far the confidence of the answers is from how often "
                    "they are right (ECE, ten bins; 0 is best).", True),
            _number("calibration_error"),
        ),
        (
            Heading("Brier", "Mean squared distance of the probabilities from the truth (0 is "
                    "best, 2 worst).", True),
            _number("brier"),
        ),
        (Heading("whole run", "All phases together.", True), _seconds("total_seconds")),
        (Heading("memory", "Peak memory of the process.", True), _bytes),
    ]  # fmt: skip


def _there(value: Any) -> bool:
    return value is not None and value == value and str(value) != "<NA>"


_NOTHING = Cell("–", None, "muted")


def _accuracy(row: dict[Any, Any]) -> Cell:
    value = row["test_accuracy"]
    if not _there(value):
        state = row["state"]
        return Cell("no figures" if state in HAVING_RUNS else state, None, "state")
    sd = row["test_accuracy_sd"]
    spread = f" ± {100 * sd:.2f}" if _there(sd) else ""
    return Cell(percent(value) + spread, value, "strong")


def _interval(row: dict[Any, Any]) -> Cell:
    low, high = row["test_accuracy_low"], row["test_accuracy_high"]
    return Cell(percent_interval((low, high)), low) if _there(low) else _NOTHING


def _rank(row: dict[Any, Any]) -> Cell:
    best, worst = row["rank_best"], row["rank_worst"]
    if not _there(best):
        return _NOTHING
    text = f"{best}" if best == worst else f"{best}–{worst}"
    return Cell(text, float(best) + float(worst) / 1000)


def _difference(column: str) -> Callable[[dict[Any, Any]], Cell]:
    def cell(row: dict[Any, Any]) -> Cell:
        value, verdict = row.get(column), row.get(f"{column}_verdict")
        if not _there(value) or value is None:
            return _NOTHING
        shown = verdict in ("better", "worse")
        text = _signed(value) + (f" {SHOWN}" if shown else "")
        return Cell(text, value, str(verdict) if shown else "")

    return cell


def _without_leaked(row: dict[Any, Any]) -> Cell:
    value, low = row["test_accuracy_without_leaked"], row["without_leaked_low"]
    if not _there(value):
        return _NOTHING
    spread = f" ({percent_interval((low, row['without_leaked_high']))})" if _there(low) else ""
    return Cell(percent(value) + spread, value)


def _share(column: str, kind: str = "") -> Callable[[dict[Any, Any]], Cell]:
    def cell(row: dict[Any, Any]) -> Cell:
        value = row[column]
        return Cell(percent(value), value, kind) if _there(value) else _NOTHING

    return cell


def _published_minutes(row: dict[Any, Any]) -> Cell:
    value = row["published_minutes"]
    return Cell(f"{value:.2f} min", value, "muted") if _there(value) else _NOTHING


def _points(column: str) -> Callable[[dict[Any, Any]], Cell]:
    return lambda row: Cell(_signed(row[column]), row[column]) if _there(row[column]) else _NOTHING


def _signed(difference: float) -> str:
    return points(difference).replace("-", "−")


def _number(column: str) -> Callable[[dict[Any, Any]], Cell]:
    return lambda row: Cell(f"{row[column]:.3f}", row[column]) if _there(row[column]) else _NOTHING


def _count(column: str) -> Callable[[dict[Any, Any]], Cell]:
    def cell(row: dict[Any, Any]) -> Cell:
        value = row[column]
        return Cell(f"{int(value):,}", float(value)) if _there(value) else _NOTHING

    return cell


def _seconds(column: str) -> Callable[[dict[Any, Any]], Cell]:
    def cell(row: dict[Any, Any]) -> Cell:
        value = row[column]
        if not _there(value):
            return _NOTHING
        mark = FOUND if column == "prefix_and_training_seconds" and row["prefix_found"] else ""
        return Cell(seconds_text(value) + mark, value)

    return cell


def _bytes(row: dict[Any, Any]) -> Cell:
    value = row["peak_memory_bytes"]
    return Cell(bytes_text(int(value)), float(value)) if _there(value) else _NOTHING
