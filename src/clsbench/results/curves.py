"""Plot a run's curves as SVG and PDF: loss at each evaluation point, accuracy at each epoch."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from clsbench.schema.record import EpochEntry, RunRecord, StepEntry
from clsbench.system.filesystem import replacing
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (6.4, 4.4)

# In black and white they differ in dashes, markers and lightness.
TRAIN: dict[str, Any] = {"color": "#0b3c6f", "linestyle": "-", "marker": "o"}
VALIDATION: dict[str, Any] = {"color": "#d9731a", "linestyle": "-.", "marker": "s"}
_LINES = (("train", "training", TRAIN), ("validation", "validation", VALIDATION))

_WITHOUT_DATE = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Metadata by extension: no dates, so that equal figures give equal files."""


def save_figure(figure: Figure, file: Path) -> None:
    """Write a figure, which appears complete or not at all; the extension selects the format.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(file) as temporary:
        figure.savefig(temporary, metadata=_WITHOUT_DATE.get(file.suffix, {}))


def save_curves(record: RunRecord, directory: Path) -> tuple[Path, ...]:
    """Write ``loss.svg/pdf`` and ``accuracy.svg/pdf``; return the paths.

    Curves without points are not written. The same record gives byte-identical files.
    """
    figures: dict[str, Figure] = {}
    # The figures do not depend on the user's matplotlibrc, and do not change pyplot's state.
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]
        # Characters that the font does not contain are drawn as boxes, without a warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        if record.history is not None and record.history.steps:
            figures["loss"] = loss_figure(record)
        if record.history is not None and record.history.epochs:
            figures["accuracy"] = accuracy_figure(record)
        written: list[Path] = []
        for name, figure in figures.items():
            for suffix in _WITHOUT_DATE:
                path = directory / f"{name}{suffix}"
                save_figure(figure, path)
                written.append(path)
    return tuple(written)


def loss_figure(record: RunRecord) -> Figure:
    """Training and validation loss, averaged over a few batches, by epochs and examples seen."""
    assert record.history is not None
    steps = record.history.steps
    figure, axes = _figure(record)
    _epochs_axis(axes, record, steps[-1].examples_seen)
    draw_curves(axes, record, steps, "loss")
    axes.set_ylabel(f"mean cross-entropy over {_batches(record)} (nats)")
    axes.set_ylim(0, max(max(e.train_loss, e.validation_loss) for e in steps) * 1.06 or 1)
    axes.legend(frameon=False, handlelength=4)
    return figure


def accuracy_figure(record: RunRecord) -> Figure:
    """Training and validation accuracy over a few batches, by epochs and examples seen."""
    assert record.history is not None
    epochs = record.history.epochs
    figure, axes = _figure(record)
    _epochs_axis(axes, record, epochs[-1].examples_seen)
    draw_curves(axes, record, epochs, "accuracy")
    axes.set_ylabel(f"accuracy over {_batches(record)} (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=None))
    lowest = min(min(e.train_accuracy, e.validation_accuracy) for e in epochs)
    axes.set_ylim(min(0.5, math.floor(lowest * 10) / 10) - 0.02, 1.02)
    axes.legend(frameon=False, handlelength=4, loc="lower right")
    return figure


def draw_curves(
    axes: Axes,
    record: RunRecord,
    entries: Sequence[StepEntry] | Sequence[EpochEntry],
    metric: str,
    markers: int = 30,
) -> None:
    """Draw the ``loss`` or ``accuracy`` of train and validation over epochs.

    If the length of an epoch is unknown, they are drawn over training examples.
    """
    x = [entry.examples_seen / (_examples_per_epoch(record) or 1.0) for entry in entries]
    spacing = max(1, math.ceil(len(x) / markers))
    for split, label, style in _LINES:
        y = [getattr(entry, f"{split}_{metric}") for entry in entries]
        axes.plot(x, y, label=label, markevery=spacing, clip_on=False, **style)


SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "clsbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "figure.dpi": 100.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": "figure",
    "savefig.bbox": None,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "axes.grid": True,
    "grid.color": "#d0d0d0",
    "grid.linewidth": 0.6,
    "axes.spines.right": False,
    "text.usetex": False,
    "axes.unicode_minus": False,
}


def _figure(record: RunRecord) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    title = "\n".join(textwrap.wrap(record.experiment, 60)) or "experiment"
    title += f", seed {record.spec.get('seed', '?')}, {record.environment.device}"
    if record.status != "finished":
        title += f" ({record.status})"
    if record.stand_ins:
        names = ", ".join(s.by.partition(":")[0] for s in record.stand_ins)
        title += f"\nSTAND-INS ({names}): not the real experiment"
    # A dollar sign in a name must not start a formula.
    figure.suptitle(printable(title, keep="\n"), fontsize=11, parse_math=False)
    return figure, figure.add_subplot()


def _epochs_axis(axes: Axes, record: RunRecord, examples: int) -> None:
    """Label the x axes, up to ``examples``: epochs below, and the examples seen above."""
    per_epoch = _examples_per_epoch(record)
    if per_epoch is None:
        axes.set_xlabel("training examples seen")
        axes.set_xlim(0, max(examples * 1.02, 1))
        return
    last = max(_train_setting(record, "epochs") or 0, examples / per_epoch)
    axes.set_xlabel("epochs")
    axes.xaxis.set_major_locator(MaxNLocator(integer=last > 1))
    axes.set_xlim(0, last * 1.02)

    def to_examples(epochs: Any) -> Any:
        return epochs * per_epoch

    def to_epochs(examples: Any) -> Any:
        return examples / per_epoch

    above = axes.secondary_xaxis("top", functions=(to_examples, to_epochs))
    above.set_xlabel("training examples seen")
    above.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    above.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _examples_per_epoch(record: RunRecord) -> float | None:
    """Training texts in an epoch, without those of a last batch that is dropped."""
    if record.history is not None and record.history.epochs:
        last = record.history.epochs[-1]
        return last.examples_seen / last.epoch or None
    batch_size = _train_setting(record, "batch_size")
    batches = record.data.batches.get("train") if record.data is not None else None
    return float(batches * batch_size) if batches and batch_size else None


def _batches(record: RunRecord) -> str:
    count = _train_setting(record, "eval_batches")
    if count is None:
        return "a few batches"
    return f"{count} batch{'' if count == 1 else 'es'}"


def _train_setting(record: RunRecord, key: str) -> int | None:
    train = record.spec.get("train")
    value = train.get(key) if isinstance(train, dict) else None
    return value if isinstance(value, int) else None
