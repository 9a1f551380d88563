"""The content of the page as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from clsbench.analysis.estimates import estimates_in_words
from clsbench.analysis.figures import ACCURACY, MetricInfo
from clsbench.analysis.mistakes import mistakes
from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.errors import UsageError
from clsbench.report.page.answer import Answer, answer
from clsbench.report.page.commands import (
    predict_words,
    row_command,
    shell_line,
    suite_command,
    train_command,
)
from clsbench.report.page.details import (
    Confusion,
    Fact,
    LabelFigures,
    Phases,
    WrongTexts,
    confusion,
    data_facts,
    environment_facts,
    label_figures,
    phases,
    wrong_texts,
)
from clsbench.report.page.scatter import Scatter, scatter
from clsbench.report.page.table import PageTable, page_table
from clsbench.report.page.tuning import TuningTable, tuning_table
from clsbench.report.terminal.comparison import best_first, comparison_notes
from clsbench.report.tuning import tuning_notes
from clsbench.report.wording import metric_difference, selection_text
from clsbench.schema.record import RunRecord

if TYPE_CHECKING:
    from clsbench.analysis.calibration import Calibration
    from clsbench.analysis.comparison import Pair, RunComparison
    from clsbench.components.catalog import Catalog
    from clsbench.components.values import Text
    from clsbench.report.page.curves import Panels
    from clsbench.report.page.learning_curves import CurveDrawing
    from clsbench.report.page.ranks import RankDrawing


class RowCommand(NamedTuple):
    """A row and the command that repeats it."""

    title: str
    command: str


class Verdicts(NamedTuple):
    """All pairwise tests: ``marks[i][j]`` is + if row i is significantly better than row j, − if it
    is worse and · otherwise, with a text that describes the difference."""

    names: tuple[str, ...]
    titles: tuple[str, ...]
    marks: tuple[tuple[tuple[str, str], ...], ...]


class Page(NamedTuple):
    """The page from top to bottom; a part that is ``None`` or empty is not shown.

    ``found``: some times exclude cached work.
    """

    title: str
    description: str
    created: str
    stand_ins: tuple[str, ...]
    answer: Answer
    recommended: tuple[RowCommand, ...]
    metric: MetricInfo
    wide: Scatter | None
    narrow: Scatter | None
    found: bool
    table: PageTable
    tuning: TuningTable | None
    learning: CurveDrawing | None
    ranks: RankDrawing | None
    verdicts: Verdicts | None
    losses: Panels | None
    accuracies: Panels | None
    class_names: tuple[str, ...]
    confusions: tuple[Confusion, ...]
    labels: tuple[LabelFigures, ...]
    wrong: WrongTexts | None
    phases: Phases | None
    estimates: str | None
    reliabilities: Panels | None
    commands: tuple[RowCommand, ...]
    suite_command: str | None
    data: tuple[Fact, ...]
    environment: tuple[Fact, ...]
    notes: tuple[str, ...]


def build_page(figures: SuiteFigures, catalog: Catalog, texts: Mapping[int, Text] | None) -> Page:
    """Compute the page; ``texts`` are the corpus texts by row, ``None`` if they are unavailable."""
    # Matplotlib is slow to import, and other formats of the report do without it.
    from clsbench.report.page.curves import accuracy_panels, loss_panels, reliability_panels
    from clsbench.report.page.learning_curves import curve_drawing
    from clsbench.report.page.ranks import rank_drawing

    results, comparison = figures.results, figures.comparison
    own = [row for row in figures.rows if row.record is not None and row.row.same_as is None]
    records = [(_title_of_one(row), row.record) for row in own if row.record is not None]
    first_record = records[0][1] if records else None
    names = first_record.data.class_names if first_record and first_record.data else ()
    reply = answer(figures)
    one_dataset = figures.ranks is None
    drawn = [
        row
        for row in (*figures.rows, *figures.baselines)
        if one_dataset
        and row.row.same_as is None
        and (row.contender is not None or comparison is None)
    ]  # rows that are not compared may have other test texts
    notes = list(figure_notes(figures))
    if any(len(row.runs) > 1 for row in own):
        notes.append(
            "For a row with several seeds, the training curves, the confusion matrix, the "
            "misclassified texts, the calibration plot and the time by phase are those of its "
            "first seed, which is named."
        )
    if not one_dataset:
        notes.append(
            "Confusion matrices, misclassified texts and calibration are shown for one data set at "
            "a time: clsbench report RUN RUN…, with the runs of one data set."
        )
    return Page(
        title=results.name,
        description=results.description,
        created=f"{results.created[:16].replace('T', ' ')} UTC",
        stand_ins=stand_ins(figures),
        answer=reply,
        recommended=_recommended(figures, reply, catalog),
        metric=figures.metrics.primary,
        wide=scatter(drawn, 720, 430, 12.5, figures.metrics.primary),
        narrow=scatter(drawn, 360, 400, 11.5, figures.metrics.primary),
        found=any(point.prefix_found for point in drawn),
        table=page_table(figures, reply.tied),
        tuning=tuning_table(figures),
        learning=curve_drawing(figures.curves) if figures.curves is not None else None,
        ranks=rank_drawing(figures.ranks) if figures.ranks is not None else None,
        verdicts=_verdicts(figures, comparison) if comparison is not None else None,
        losses=loss_panels(records),
        accuracies=accuracy_panels(records),
        class_names=names,
        confusions=_confusions(figures, records, names) if one_dataset else (),
        labels=_labels(figures, records, names) if one_dataset else (),
        wrong=_wrong(own, comparison is not None, names, texts, notes) if one_dataset else None,
        phases=phases(records),
        estimates=estimates_in_words(figures),
        reliabilities=reliability_panels(_calibrations(own) if one_dataset else [], len(names)),
        commands=_commands(figures, catalog),
        suite_command=suite_command(figures),
        data=data_facts(first_record) if first_record is not None and one_dataset else (),
        environment=environment_facts([run.record for row in own for run in row.runs]),
        notes=tuple(notes),
    )


def stand_ins(figures: SuiteFigures) -> tuple[str, ...]:
    """Each stand-in and what it replaces."""
    return tuple(
        dict.fromkeys(
            f"{stand_in.by} in place of {stand_in.replaced}"
            for row in figures.rows
            for run in row.runs
            for stand_in in run.record.stand_ins
        )
    )


def figure_notes(figures: SuiteFigures) -> tuple[str, ...]:
    """Notes on the table: the tests, published results, and rows that failed or are missing."""
    results, notes = figures.results, []
    if figures.comparison is not None:
        notes.append(
            "All compared rows and the baselines were evaluated on the same "
            f"{figures.comparison.texts:,} test texts. Each pair is tested text by text "
            f"({_test(figures.comparison)}), with Holm’s correction over all pairs at 5 %."
        )
        notes += comparison_notes(figures.comparison)
    published = any(row.row.published is not None for row in figures.rows)
    if published:
        notes.append(f"Published results: {results.origin}.")
    if published and any(row.row.modified and row.runs for row in figures.rows):
        notes.append(
            "Rows that were changed or that use stand-ins are not the published experiment, so "
            "they are not compared with published results."
        )
    for row in figures.rows:
        name = f"Row {row.row.label}"
        if row.row.published is not None and row.row.published.remark:
            notes.append(f"{name}, published result: {row.row.published.remark}.")
        if row.row.not_applicable is not None:
            notes.append(f"{name} does not apply: {row.row.not_applicable}.")
        notes += [f"{name}: {error}" for error in row.row.errors]
    notes += _selections(figures)
    return (*notes, *tuning_notes(figures), *figures.missing_in_words(), *figures.problems)


def _selections(figures: SuiteFigures) -> list[str]:
    """The epochs that were chosen on validation (``train.select``, ``train.patience``)."""
    found = []
    for row in figures.rows:
        for run in row.runs if row.row.same_as is None else ():
            history = run.record.history
            if history is not None and history.selection is not None:
                seed = f", seed {run.record.spec['seed']}" if len(row.runs) > 1 else ""
                found.append(f"Row {row.row.label}{seed}: {selection_text(history.selection)}.")
    return found


def _test(comparison: RunComparison) -> str:
    """The paired test in words."""
    if comparison.metric.name == ACCURACY.name:
        one = "McNemar’s exact test for one seed"
    else:
        one = f"for {comparison.metric.header}, a sign test on each text’s contribution to it"
    return f"{one}; for several seeds, a test in which texts and seeds both vary"


def _title(row: RowFigures) -> str:
    return f"{row.row.label} {row.row.title}".strip()


def _title_of_one(row: RowFigures) -> str:
    """The title of the row, with the first seed if there are several."""
    title, record = _title(row), row.record
    return f"{title}, seed {record.spec['seed']}" if record and len(row.runs) > 1 else title


def _verdicts(figures: SuiteFigures, comparison: RunComparison) -> Verdicts | None:
    ranked = [each for each in best_first(comparison) if each.score is not None]
    if len(ranked) < 3:
        return None
    labels = {
        row.contender.name: (row.row.label, _title(row))
        for row in reversed(figures.rows)
        if row.contender is not None
    }
    labels |= {row.row.title: (row.title, row.title) for row in figures.baselines}
    shown = [labels[each.name] for each in ranked]
    places = {each.name: place for place, each in enumerate(ranked)}
    marks = [[("", "")] * len(ranked) for _ in ranked]
    for one in comparison.pairs:
        if {one.a, one.b} <= places.keys():
            for pair in (one, one.reversed()):
                marks[places[pair.b]][places[pair.a]] = _mark(pair, comparison.metric)
    return Verdicts(
        tuple(label for label, _ in shown),
        tuple(title for _, title in shown),
        tuple(tuple(line) for line in marks),
    )


def _mark(pair: Pair, metric: MetricInfo) -> tuple[str, str]:
    found = pair.found
    if found is None or pair.verdict is None or pair.p_corrected is None:
        return ("?", "not compared: no seed in common")
    difference = metric_difference(metric, found.difference)
    p = f"p = {pair.p_corrected:.3f}" if pair.p_corrected >= 0.001 else "p < 0.001"
    return (
        {"better": "+", "worse": "−"}.get(pair.verdict, "·"),
        f"{difference}; of {found.texts:,} texts, only this row is right on "
        f"{round(found.only_b, 1):g} and only the other on {round(found.only_a, 1):g}; {p}",
    )


def _confusions(
    figures: SuiteFigures,
    records: list[tuple[str, RunRecord]],
    names: tuple[str, ...],
) -> tuple[Confusion, ...]:
    tests = [(title, r.metrics.test) for title, r in records if r.metrics is not None]
    tests += [(row.title, test) for row in figures.baselines for test in row.tests]
    return tuple(confusion(title, t.confusion, names) for title, t in tests if t.confusion)


def _labels(
    figures: SuiteFigures,
    records: list[tuple[str, RunRecord]],
    names: tuple[str, ...],
) -> tuple[LabelFigures, ...]:
    """The figures of the labels of multi-label data, for each row and baseline."""
    tests = [(title, r.metrics.test, r.thresholds) for title, r in records if r.metrics is not None]
    tests += [(row.title, test, {}) for row in figures.baselines for test in row.tests]
    return tuple(
        label_figures(title, test.label_counts, names, thresholds)
        for title, test, thresholds in tests
        if test.label_counts
    )


def _wrong(
    rows: list[RowFigures],
    compared: bool,
    names: tuple[str, ...],
    texts: Mapping[int, Text] | None,
    notes: list[str],
) -> WrongTexts | None:
    """Mistakes of the compared rows; others have damaged predictions or other test texts."""
    rows = [row for row in rows if row.contender is not None or not compared]
    if not rows:
        return None
    try:
        return wrong_texts(mistakes({r.row.label: r.runs[0] for r in rows}), texts)
    except UsageError as error:
        notes.append(f"The misclassified texts cannot be shown: {error}")
        return None


def _calibrations(rows: list[RowFigures]) -> list[tuple[str, Calibration]]:
    return [
        (_title_of_one(row), row.contender.calibration)
        for row in rows
        if row.contender is not None and row.contender.calibration is not None
    ]


def _recommended(figures: SuiteFigures, reply: Answer, catalog: Catalog) -> tuple[RowCommand, ...]:
    """The commands that use and train what the answer recommends."""
    if reply.recommended is None:
        return ()
    runs = [run for row in figures.rows for run in row.runs]
    words = ["clsbench", *predict_words(reply.recommended, runs)]
    found = [RowCommand("Classify a text with it", shell_line(words))]
    if (train := train_command(figures, reply.recommended, catalog)) is not None:
        found.append(RowCommand("Train and store it again", train))
    return tuple(found)


def _commands(figures: SuiteFigures, catalog: Catalog) -> tuple[RowCommand, ...]:
    found = []
    for row in figures.rows:
        command = row_command(row, figures.results, catalog)
        if command is not None:
            found.append(RowCommand(_title(row), command))
    return tuple(found)
