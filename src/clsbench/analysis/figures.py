"""The metrics: their meaning, how they are read from a record, and their format.

Every table, on the terminal, on the page and in CSV, Markdown, LaTeX or JSON, iterates these lists.
To add a metric, compute it in :mod:`clsbench.analysis.metrics` and describe it in :data:`SCORES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Literal, NamedTuple

from clsbench.schema.record import SplitMetrics

Direction = Literal["higher", "lower"]
"""Whether higher or lower values are better."""


class Metric(NamedTuple):
    """A metric of a classifier on the texts of one split.

    ``name`` follows the split in CSV and JSON (``test_loss``). ``column`` is its name in the tables
    of suites, by default that of the test split. ``limits`` are the lowest and highest possible
    values. With the unit ``%``, a fraction is written in percent. On a narrow terminal, columns
    with the lowest ``drop`` are left out first. ``summary``: the terminal's tables of suites and
    comparisons show it too.
    """

    name: str
    header: str
    meaning: str
    better: Direction
    read: Callable[[SplitMetrics], float | None]
    limits: tuple[float, float] = (0.0, 1.0)
    unit: Literal["%", "nats", ""] = ""
    decimals: int = 4
    drop: int = 0
    column: str = ""
    summary: bool = False


ACCURACY = Metric(
    name="accuracy",
    header="accuracy",
    meaning="Share of the texts classified correctly.",
    better="higher",
    read=lambda split: split.accuracy,
    unit="%",
    decimals=2,
)
WITHOUT_LEAKED = Metric(
    name="accuracy_without_leaked",
    header="not in train",
    meaning="Accuracy on the texts that do not occur word for word in the training split.",
    better="higher",
    read=lambda split: split.without_leaked.accuracy if split.without_leaked else None,
    unit="%",
    decimals=2,
)
SCORES = (
    Metric(
        name="loss",
        header="loss",
        meaning="Mean cross-entropy in nats.",
        better="lower",
        read=lambda split: split.loss,
        limits=(0.0, math.inf),
        unit="nats",
        drop=50,
    ),
    Metric(
        name="macro_f1",
        header="macro F1",
        meaning="Mean over the classes of the harmonic mean of precision and recall.",
        better="higher",
        read=lambda split: split.macro_f1,
        drop=40,
    ),
    Metric(
        name="mcc",
        header="MCC",
        meaning="Matthews correlation coefficient (1 is perfect, 0 is chance, -1 is the opposite).",
        better="higher",
        read=lambda split: split.scores.get("mcc"),
        limits=(-1.0, 1.0),
        drop=45,
    ),
    Metric(
        name="ece",
        header="calibration error",
        meaning="Expected calibration error: mean absolute difference between confidence and "
        "accuracy in ten bins (0 is best).",
        better="lower",
        read=lambda split: split.ece,
        decimals=3,
        drop=20,
        column="calibration_error",
        summary=True,
    ),
    Metric(
        name="brier",
        header="Brier",
        meaning="Mean squared difference between the probabilities and the true class, summed over "
        "the classes (0 is best, 2 is worst).",
        better="lower",
        read=lambda split: split.brier,
        limits=(0.0, 2.0),
        decimals=3,
        drop=10,
        column="brier",
        summary=True,
    ),
)
"""Metrics besides the accuracy, in the order of their columns."""

METRICS = (ACCURACY, WITHOUT_LEAKED, *SCORES)


def mean_scores(splits: Iterable[SplitMetrics]) -> dict[str, float]:
    """The mean of each of :data:`SCORES` over several seeds, without those that are missing."""
    splits = list(splits)
    values = {m.name: [v for s in splits if (v := m.read(s)) is not None] for m in SCORES}
    return {name: fmean(found) for name, found in values.items() if found}
