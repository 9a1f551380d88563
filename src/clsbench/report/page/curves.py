"""The course of training and the reliability of each row as small drawings on shared axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clsbench.analysis.calibration import Calibration
from clsbench.report.page.labels import Box
from clsbench.report.page.scales import Scale, Tick, steps
from clsbench.schema.record import History, RunRecord, StepEntry

WIDTH, HEIGHT = 208, 132
FRAME = Box(34, 8, WIDTH - 42, HEIGHT - 30)
_MOST_POINTS = 120


class Curve(NamedTuple):
    """One line: its class in the style sheet, its path, and its points where they are few."""

    kind: str
    path: str
    points: tuple[tuple[float, float], ...]


class Panel(NamedTuple):
    """One small drawing; ``words`` says what it shows."""

    title: str
    curves: tuple[Curve, ...]
    words: str


class Panels(NamedTuple):
    """Small drawings on one pair of axes."""

    name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    panels: tuple[Panel, ...]


class ReliabilityPoint(NamedTuple):
    """A bin in a drawing: its place, the ends of its interval, and what it says."""

    x: float
    y: float
    top: float
    bottom: float
    radius: float
    title: str


class Reliability(NamedTuple):
    """How often one row is right when it says how sure it is."""

    title: str
    ece: float
    brier: float
    points: tuple[ReliabilityPoint, ...]
    words: str


class Reliabilities(NamedTuple):
    """The reliability of every row on one pair of axes; ``diagonal`` is that of a perfect one."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    diagonal: tuple[float, float, float, float]
    rows: tuple[Reliability, ...]


def loss_panels(rows: Sequence[tuple[str, RunRecord]]) -> Panels | None:
    """Training and validation loss at the evaluation points, over epochs."""
    drawn = [(t, r) for t, r in rows if r.history is not None and r.history.steps]
    if not drawn:
        return None
    highest = max(max(e.train_loss, e.validation_loss) for _, r in drawn for e in _history(r).steps)
    x = _epochs(r for _, r in drawn)
    y = Scale(0.0, highest * 1.05 or 1.0, FRAME.y + FRAME.height, FRAME.y)
    panels = []
    for title, record in drawn:
        entries = _thinned(_history(record).steps)
        at = [x.at(_epoch(record, entry.examples_seen)) for entry in entries]
        first, last = entries[0], entries[-1]
        words = (
            f"{title}: training loss from {first.train_loss:.3f} to {last.train_loss:.3f}, "
            f"validation loss from {first.validation_loss:.3f} to {last.validation_loss:.3f}"
        )
        panels.append(
            Panel(
                title,
                (
                    _curve("train", at, [y.at(e.train_loss) for e in entries]),
                    _curve("validation", at, [y.at(e.validation_loss) for e in entries]),
                ),
                words,
            )
        )
    y_ticks = tuple(Tick(y.at(v), f"{v:g}") for v in steps(0.0, y.high, 5))
    return Panels("Mean cross-entropy (nats)", _epoch_ticks(x), y_ticks, tuple(panels))


def accuracy_panels(rows: Sequence[tuple[str, RunRecord]]) -> Panels | None:
    """Training and validation accuracy at the ends of epochs, from before training on."""
    drawn = [(t, r) for t, r in rows if r.history is not None and r.history.epochs]
    if not drawn:
        return None
    lines = {title: _accuracies(record) for title, record in drawn}
    lowest = min(value for line in lines.values() for _, *values in line for value in values)
    x = _epochs(r for _, r in drawn)
    y = Scale(min(lowest, 0.9) - 0.02, 1.0, FRAME.y + FRAME.height, FRAME.y)
    panels = []
    for title, line in lines.items():
        at = [x.at(epoch) for epoch, _, _ in line]
        words = (
            f"{title}: training accuracy from {100 * line[0][1]:.1f} to {100 * line[-1][1]:.1f} %, "
            f"validation accuracy from {100 * line[0][2]:.1f} to {100 * line[-1][2]:.1f} %"
        )
        panels.append(
            Panel(
                title,
                (
                    _curve("train", at, [y.at(value) for _, value, _ in line]),
                    _curve("validation", at, [y.at(value) for _, _, value in line]),
                ),
                words,
            )
        )
    y_ticks = tuple(Tick(y.at(v), f"{100 * v:g}") for v in steps(y.low, y.high, 5))
    return Panels("Accuracy (%)", _epoch_ticks(x), y_ticks, tuple(panels))


def reliabilities(
    rows: Sequence[tuple[str, Calibration]], num_classes: int
) -> Reliabilities | None:
    """Accuracy over confidence in bins; the size of a point grows with its answers."""
    if not rows:
        return None
    lowest = 1 / num_classes
    x = Scale(lowest, 1.0, FRAME.x, FRAME.x + FRAME.width)
    y = Scale(0.0, 1.0, FRAME.y + FRAME.height, FRAME.y)
    found = []
    for title, each in rows:
        points = tuple(
            ReliabilityPoint(
                x.at(b.confidence),
                y.at(b.accuracy),
                y.at(b.interval[1]),
                y.at(b.interval[0]),
                round(1.8 + 3.4 * (b.n / each.n) ** 0.5, 1),
                f"{b.n:,} answers, {100 * b.confidence:.0f} % sure on average, "
                f"{100 * b.accuracy:.0f} % right",
            )
            for b in each.bins
        )
        words = f"{title}: calibration error {each.ece:.3f}; " + "; ".join(p.title for p in points)
        found.append(Reliability(title, each.ece, each.brier, points, words))
    return Reliabilities(
        tuple(Tick(x.at(v), f"{100 * v:g}") for v in steps(lowest, 1.0, 3)),
        tuple(Tick(y.at(v), f"{100 * v:g}") for v in (0.0, 0.5, 1.0)),
        (x.at(lowest), y.at(lowest), x.at(1.0), y.at(1.0)),
        tuple(found),
    )


def _history(record: RunRecord) -> History:
    assert record.history is not None
    return record.history


def _accuracies(record: RunRecord) -> list[tuple[float, float, float]]:
    history = _history(record)
    line = [(e.epoch * 1.0, e.train_accuracy, e.validation_accuracy) for e in history.epochs]
    before = history.before
    if before is not None and {"train", "validation"} <= before.accuracy.keys():
        line.insert(0, (0.0, before.accuracy["train"], before.accuracy["validation"]))
    return line


def _epoch(record: RunRecord, examples_seen: int) -> float:
    """How many epochs have passed when so many examples have been seen."""
    last = record.history.epochs[-1] if record.history and record.history.epochs else None
    if last is not None and last.examples_seen:
        return examples_seen * last.epoch / last.examples_seen
    size = record.data.sizes.get("train", 1) if record.data is not None else 1
    return examples_seen / max(size, 1)


def _epochs(records: Iterable[RunRecord]) -> Scale:
    longest = 1.0
    for record in records:
        history = _history(record)
        seen = [e.examples_seen for e in history.steps] + [e.examples_seen for e in history.epochs]
        longest = max([longest, *(_epoch(record, n) for n in seen)])
    return Scale(0.0, longest, FRAME.x, FRAME.x + FRAME.width)


def _epoch_ticks(x: Scale) -> tuple[Tick, ...]:
    return tuple(Tick(x.at(v), f"{v:g}") for v in steps(0.0, x.high, 5) if v == int(v))


def _thinned(entries: Sequence[StepEntry]) -> Sequence[StepEntry]:
    if len(entries) <= _MOST_POINTS:
        return entries
    last = len(entries) - 1
    return [entries[round(i * last / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS)]


def _curve(kind: str, xs: Sequence[float], ys: Sequence[float]) -> Curve:
    places = list(zip(xs, ys, strict=True))
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    return Curve(kind, path, tuple(places) if len(places) <= 8 else ())
