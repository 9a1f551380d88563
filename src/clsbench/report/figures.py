"""The figures of a finished run as tables: beside the baselines, the published and by class."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clsbench.record import Metrics, RunRecord, SplitMetrics, StepEntry
from clsbench.report.wording import percent, percent_interval, plain, points, shortened
from clsbench.spec import PublishedFigures

_SPLITS = ("train", "validation", "test")
_WIDEST_MATRIX = 8
_MOST_CONFUSIONS = 10
_MOST_LOSSES = 14


def metrics_table(record: RunRecord) -> RenderableType | None:
    """Accuracy with its interval, loss and macro F1 of each split, and the baselines on test."""
    if record.metrics is None:
        return None
    table = _table()
    table.add_column("split", overflow="fold")
    for name in ("texts", "accuracy", "95 %\ninterval", "loss", "macro\nF1"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in _SPLITS:
        figures: SplitMetrics = getattr(record.metrics, split)
        table.add_row(*_row(plain(split, "bold" if split == "test" else ""), figures))
        if figures.without_leaked is not None:
            label = Text("  not in train", "dim")
            table.add_row(*_row(label, figures.without_leaked))
    table.add_section()
    if record.baselines:
        table.add_row(Text("baselines on test", "dim"))
    for baseline in record.baselines:
        table.add_row(*_row(plain(f"  {baseline.component}"), baseline.metrics.test))
    return _titled(record, "Whole splits", table)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _titled(record: RunRecord, title: str, table: Table) -> RenderableType:
    """A table under its title, which says where stand-ins took part."""
    text = Text(title, "bold")
    if record.stand_ins:
        names = ", ".join(stand_in.by.partition(":")[0] for stand_in in record.stand_ins)
        text.append_text(plain(f" (STAND-INS: {names})", "yellow"))
    return Group(text, table)


def _row(label: Text, figures: SplitMetrics) -> list[RenderableType]:
    return [
        label,
        f"{figures.n:,}",
        percent(figures.accuracy),
        percent_interval(figures.interval),
        "-" if figures.loss is None else f"{figures.loss:.4f}",
        f"{figures.macro_f1:.4f}",
    ]


# --- published figures ----------------------------------------------------------------------------


def comparable_figures(record: RunRecord) -> PublishedFigures | None:
    """The published figures, unless stand-ins took part: those are never compared."""
    return None if record.stand_ins else record.published


def published_table(record: RunRecord) -> RenderableType | None:
    """Measured and published accuracy, the difference judged by the measured interval."""
    published = comparable_figures(record)
    if published is None or record.metrics is None or not published.accuracy:
        return None
    table = _table()
    table.add_column("split", overflow="fold")
    for name in ("measured", "published", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("judged by the 95 % interval", overflow="fold")
    for split in _SPLITS:
        if split in published.accuracy:
            figures: SplitMetrics = getattr(record.metrics, split)
            table.add_row(split, *_judged(figures, published.accuracy[split]))
    return Group(published_heading(record, published), table)


def published_heading(record: RunRecord, published: PublishedFigures) -> Text:
    """Where the figures come from, and whether they belong to this very experiment."""
    heading = Text("Published: ", "bold")
    heading.append_text(plain(f"{published.source} ({published.conditions})", "not bold"))
    if record.modified:
        heading.append(
            "\nThey belong to the unchanged experiment: this run changed it.", "bold yellow"
        )
    return heading


def _judged(figures: SplitMetrics, published: float) -> list[RenderableType]:
    low, high = figures.interval
    inside = low <= published <= high
    return [
        percent(figures.accuracy),
        percent(published),
        points(figures.accuracy - published),
        Text("within the interval") if inside else Text("outside", "yellow"),
    ]


def before_table(record: RunRecord) -> RenderableType | None:
    """The classifier as it was drawn, over a few batches, beside published figures."""
    before = record.history.before if record.history is not None else None
    if before is None:
        return None
    published = comparable_figures(record)
    table = _table()
    table.add_column("split", overflow="fold")
    for name in ("accuracy", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
        if published is not None and published.accuracy_before:
            table.add_column(f"published\n{name}", justify="right", style="dim")
    for split in before.accuracy:
        cells = [percent(before.accuracy[split]), f"{before.loss[split]:.3f}"]
        if published is not None and published.accuracy_before:
            accuracy = published.accuracy_before.get(split)
            loss = published.loss_before.get(split)
            cells.insert(1, "-" if accuracy is None else percent(accuracy))
            cells.append("-" if loss is None else f"{loss:.3f}")
        table.add_row(split, *cells)
    return _titled(record, "Before training, over a few batches", table)


# --- the course of the loss -----------------------------------------------------------------------


def loss_table(record: RunRecord) -> RenderableType | None:
    """Training and validation loss at evaluation points, beside published ones where there are."""
    if record.history is None or not record.history.steps:
        return None
    published = comparable_figures(record)
    rows = (
        {step: (train, validation) for step, train, validation in published.losses}
        if (published)
        else {}
    )
    steps = record.history.steps
    chosen = _chosen_steps(steps, rows)
    table = _table()
    for name in ("step", "texts\nseen", "train", "validation"):
        table.add_column(name, justify="right")
    if any(entry.step in rows for entry in chosen):
        table.add_column("published\ntrain", justify="right", style="dim")
        table.add_column("published\nvalidation", justify="right", style="dim")
    else:
        rows = {}
    for entry in chosen:
        cells = [f"{entry.step:,}", f"{entry.examples_seen:,}"]
        cells += [f"{entry.train_loss:.3f}", f"{entry.validation_loss:.3f}"]
        if rows:
            pair = rows.get(entry.step)
            cells += [f"{value:.3f}" for value in pair] if pair else ["-", "-"]
        table.add_row(*cells)
    left_out = len(steps) - len(chosen)
    titled = _titled(record, "Mean loss over a few batches", table)
    if left_out:
        more = Text(f"  {left_out:,} more evaluation points are in the record", "dim")
        return Group(titled, more)
    return titled


def _chosen_steps(
    steps: Sequence[StepEntry], published: dict[int, tuple[float, float]]
) -> list[StepEntry]:
    """All if they are few, else those with published losses, else some at equal distances."""
    if len(steps) <= _MOST_LOSSES:
        return list(steps)
    matching = [entry for entry in steps if entry.step in published]
    if matching:
        return matching if matching[-1] is steps[-1] else [*matching, steps[-1]]
    last, parts = len(steps) - 1, _MOST_LOSSES - 1
    return [steps[round(i * last / parts)] for i in range(parts + 1)]


# --- by class ----------------------------------------------------------------------------------


def confusion_table(record: RunRecord) -> RenderableType | None:
    """Test texts by class and prediction; the most frequent mistakes where classes are many."""
    if record.metrics is None or record.data is None:
        return None
    names = record.data.class_names
    if len(names) > _WIDEST_MATRIX:
        return _frequent_mistakes(record, record.metrics, names)
    table = _table()
    table.add_column("class \\ predicted", overflow="fold")
    width = max(5, 48 // len(names))
    for name in names:
        table.add_column(plain(shortened(name, width)), justify="right", no_wrap=True)
    for i, (name, row) in enumerate(zip(names, record.metrics.test.confusion, strict=True)):
        cells = [Text(f"{n:,}", "bold" if i == j else "") for j, n in enumerate(row)]
        table.add_row(plain(name), *cells)
    return _titled(record, "Test texts by class and prediction", table)


def _frequent_mistakes(record: RunRecord, metrics: Metrics, names: Sequence[str]) -> RenderableType:
    counts = [
        (count, i, j)
        for i, row in enumerate(metrics.test.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    counts.sort(key=lambda found: (-found[0], found[1], found[2]))
    table = _table()
    table.add_column("class", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("texts", justify="right", no_wrap=True)
    for count, i, j in counts[:_MOST_CONFUSIONS]:
        table.add_row(plain(names[i]), plain(names[j]), f"{count:,}")
    return _titled(record, "Most frequent mistakes on test texts", table)
