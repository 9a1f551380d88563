"""Tables of a run's metrics: with baselines, with published results, and by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from clsbench.analysis.figures import ACCURACY, MetricInfo, ShownMetrics
from clsbench.report.terminal.layout import Row, empty_table, fitting_table
from clsbench.report.wording import (
    metric_range,
    metric_text,
    percent,
    plain,
    points,
    shortened,
    shortest_label,
)
from clsbench.schema.experiment import PublishedFigures
from clsbench.schema.record import Metrics, RunRecord, SplitMetrics, StepEntry

_SPLITS = ("train", "validation", "test")
_WIDEST_MATRIX = 8
_MOST_CONFUSIONS = 10
_MOST_LOSSES = 14
_WIDEST_CONFUSION = 80


def metrics_table(record: RunRecord, metrics: ShownMetrics, width: int) -> RenderableType | None:
    """The metrics of each split, accuracy and primary metric with intervals, and the baselines on
    test."""
    if record.metrics is None:
        return None
    splits: list[Row] = []
    for split in _SPLITS:
        figures: SplitMetrics = getattr(record.metrics, split)
        splits.append(_row(plain(split, "bold" if split == "test" else ""), figures, metrics))
        if figures.without_leaked is not None:
            splits.append(_row(Text("  not in train", "dim"), figures.without_leaked, metrics))
    labels = [each.component for each in record.baselines]
    baselines = [
        _row(plain(f"  {shortest_label(each.component, labels)}"), each.metrics.test, metrics)
        for each in record.baselines
    ]
    if baselines:
        baselines.insert(0, Row(Text("baselines on test", "dim")))
    headers = ["texts", ACCURACY.header, "95 % interval"]
    if primary := _primary(metrics):
        headers += [primary.header, f"95 % of {primary.header}"]
    headers += [metric.header for metric in metrics.others]
    optional = [each.header for each in sorted(metrics.others, key=lambda each: each.priority)]
    optional.append("texts")
    table = fitting_table("split", headers, (splits, baselines), width, optional, "--json")
    return _titled(record, "Metrics on whole splits", table)


def _titled(record: RunRecord, title: str, table: RenderableType) -> RenderableType:
    """A table under its title; the title names the stand-ins."""
    text = Text(title, "bold")
    if record.stand_ins:
        names = ", ".join(stand_in.by.partition(":")[0] for stand_in in record.stand_ins)
        text.append_text(plain(f" (STAND-INS: {names})", "yellow"))
    return Group(text, table)


def _primary(metrics: ShownMetrics) -> MetricInfo | None:
    """The primary metric, if that is not the accuracy."""
    return metrics.primary if metrics.primary.name != ACCURACY.name else None


def _row(label: Text, figures: SplitMetrics, metrics: ShownMetrics) -> Row:
    beside: list[str] = []
    if primary := _primary(metrics):
        ends = figures.intervals.get(primary.name)
        interval = metric_range(primary, *ends) if ends is not None else "-"
        beside = [metric_text(primary, primary.read(figures)), interval]
    cells = [
        f"{figures.n:,}",
        metric_text(ACCURACY, figures.accuracy),
        metric_range(ACCURACY, *figures.interval),
        *beside,
        *(metric_text(metric, metric.read(figures)) for metric in metrics.others),
    ]
    return Row(label, cells)


# --- published figures ----------------------------------------------------------------------------


def comparable_figures(record: RunRecord) -> PublishedFigures | None:
    """The published results; ``None`` for a run with stand-ins, which is never compared."""
    return None if record.stand_ins else record.published


def published_table(record: RunRecord, width: int) -> RenderableType | None:
    """Measured and published accuracy, and whether the measured interval contains the latter."""
    published = comparable_figures(record)
    if published is None or record.metrics is None or not published.accuracy:
        return None
    rows = [
        _judged(split, getattr(record.metrics, split), published.accuracy[split])
        for split in _SPLITS
        if split in published.accuracy
    ]
    headers = ("measured", "published", "difference", "95 % interval")
    table = fitting_table("split", headers, [rows], width, ("difference",))
    return Group(published_heading(record, published), table)


def published_heading(record: RunRecord, published: PublishedFigures) -> Text:
    """The source of the published results, with a warning if this run changed the experiment."""
    heading = Text("Published: ", "bold")
    heading.append_text(plain(f"{published.source} ({published.conditions})", "not bold"))
    if record.modified:
        heading.append(
            "\nThese results are of the unchanged experiment; this run changed it.", "bold yellow"
        )
    return heading


def _judged(split: str, figures: SplitMetrics, published: float) -> Row:
    low, high = figures.interval
    inside = low <= published <= high
    verdict = Text("within") if inside else Text("outside", "yellow")
    ours, theirs = percent(figures.accuracy), percent(published)
    difference = points(figures.accuracy - published)
    return Row(Text(split), [ours, theirs, difference, verdict])


def before_table(record: RunRecord, width: int) -> RenderableType | None:
    """Metrics before training, over a few batches, with published results if there are any."""
    before = record.history.before if record.history is not None else None
    if before is None:
        return None
    published = comparable_figures(record)
    beside = published is not None and bool(published.accuracy_before)
    headers = ["accuracy", "loss"]
    if beside:
        headers = ["accuracy", "published accuracy", "loss", "published loss"]
    rows = []
    for split in before.accuracy:
        cells = [percent(before.accuracy[split]), f"{before.loss[split]:.3f}"]
        if published is not None and beside:
            accuracy = published.accuracy_before.get(split)
            loss = published.loss_before.get(split)
            cells.insert(1, "-" if accuracy is None else percent(accuracy))
            cells.append("-" if loss is None else f"{loss:.3f}")
        rows.append(Row(Text(split), cells))
    table = fitting_table("split", headers, [rows], width, ("published loss", "loss"), "--json")
    return _titled(record, "Before training, over a few batches", table)


# --- loss by step ---------------------------------------------------------------------------------


def loss_table(record: RunRecord, width: int) -> RenderableType | None:
    """Training and validation loss at evaluation points, with published losses if there are any."""
    if record.history is None or not record.history.steps:
        return None
    published = comparable_figures(record)
    pairs = {step: losses for step, *losses in published.losses} if published else {}
    steps = record.history.steps
    chosen = _chosen_steps(steps, pairs)
    if not any(entry.step in pairs for entry in chosen):
        pairs = {}
    headers = ["texts seen", "train", "validation"]
    rows = []
    for entry in chosen:
        losses = (entry.train_loss, entry.validation_loss)
        cells = [f"{entry.examples_seen:,}", *(f"{loss:.3f}" for loss in losses)]
        if pairs:
            cells += [f"{loss:.3f}" for loss in pairs.get(entry.step, ())] or ["-", "-"]
        rows.append(Row(Text(f"{entry.step:,}"), cells))
    if pairs:
        headers += ["published train", "published validation"]
    optional = ("texts seen", "published train")
    table = fitting_table("step", headers, [rows], width, optional, "--json")
    left_out = len(steps) - len(chosen)
    titled = _titled(record, "Mean loss over a few batches", table)
    if left_out:
        more = Text(f"  {left_out:,} more evaluation points are in the record", "dim")
        return Group(titled, more)
    return titled


def _chosen_steps(
    steps: Sequence[StepEntry], published: Mapping[int, Sequence[float]]
) -> list[StepEntry]:
    """All steps if they are few, otherwise those with published losses, or evenly spaced ones."""
    if len(steps) <= _MOST_LOSSES:
        return list(steps)
    matching = [entry for entry in steps if entry.step in published]
    if matching:
        return matching if matching[-1] is steps[-1] else [*matching, steps[-1]]
    last, parts = len(steps) - 1, _MOST_LOSSES - 1
    return [steps[round(i * last / parts)] for i in range(parts + 1)]


# --- by class ----------------------------------------------------------------------------------


def confusion_table(record: RunRecord, width: int) -> RenderableType | None:
    """The confusion matrix of the test texts; with many classes, the most frequent mistakes."""
    if record.metrics is None or record.data is None or record.data.multi_label:
        return None
    names = [plain(name).plain for name in record.data.class_names]
    counts = record.metrics.test.confusion
    # The width left for each class name if all columns and a label of twelve characters fit.
    room = (min(width, _WIDEST_CONFUSION) - 1 - 14) // len(names) - 2
    digits = max(len(f"{n:,}") for row in counts for n in row)
    if len(names) > _WIDEST_MATRIX or room < max(digits, 5):
        return _frequent_mistakes(record, record.metrics, names)
    table = empty_table()
    table.add_column("class \\\npredicted", overflow="fold")
    for name in names:
        table.add_column(Text(shortened(name, room)), justify="right", no_wrap=True)
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = [Text(f"{n:,}", "bold" if i == j else "") for j, n in enumerate(row)]
        table.add_row(Text(name), *cells)
    return _titled(record, "Test texts by class and prediction", table)


def labels_table(record: RunRecord, width: int) -> RenderableType | None:
    """Figures of each label on the test texts, for multi-label data."""
    if record.metrics is None or record.data is None or not record.data.multi_label:
        return None
    headers = ["texts", "precision", "recall", "F1", "threshold"]
    rows = []
    for name, each in zip(record.data.class_names, record.metrics.test.label_counts, strict=True):
        shares = (each.precision, each.recall, each.f1, record.thresholds.get(name))
        numbers = ["-" if share is None else f"{share:.4f}" for share in shares]
        rows.append(Row(plain(name), [f"{each.support:,}", *numbers]))
    optional = ("threshold", "texts")
    table = fitting_table("label", headers, [rows], width, optional, "--json")
    return _titled(record, "Labels on test texts (thresholds chosen on validation)", table)


def _frequent_mistakes(record: RunRecord, metrics: Metrics, names: Sequence[str]) -> RenderableType:
    counts = [
        (count, i, j)
        for i, row in enumerate(metrics.test.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    counts.sort(key=lambda found: (-found[0], found[1], found[2]))
    table = empty_table()
    table.add_column("class", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("texts", justify="right", no_wrap=True)
    for count, i, j in counts[:_MOST_CONFUSIONS]:
        table.add_row(plain(names[i]), plain(names[j]), f"{count:,}")
    return _titled(record, "Most frequent mistakes on test texts", table)
