"""Misclassified test texts, and which runs misclassify them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clsbench.analysis.metrics import are_right
from clsbench.components.labels import NO_CLASS, label_text, labels_of
from clsbench.errors import UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun


class WrongPrediction(NamedTuple):
    """The predicted class and its probability (``None`` for a baseline, and for multi-label data,
    where the classes are joined)."""

    predicted: str
    confidence: float | None


class Mistake(NamedTuple):
    """A text that at least one run misclassifies: its row in the corpus and its class.

    ``by_run`` and ``by_baseline`` hold the wrong predictions by name.
    """

    row: int
    label: str
    by_run: Mapping[str, WrongPrediction]
    by_baseline: Mapping[str, WrongPrediction]


class Mistakes(NamedTuple):
    """The mistakes of the runs ``names`` on ``texts`` test texts, the most frequent ones first."""

    texts: int
    names: tuple[str, ...]
    found: tuple[Mistake, ...]


def mistakes(runs: Mapping[str, StoredRun]) -> Mistakes:
    """The mistakes of stored runs with the same test texts; ``runs`` maps names to runs.

    Raises:
        UsageError: ``runs`` is empty, predictions are damaged, or the test texts differ.
    """
    if not runs:
        raise UsageError("no runs were given to list the mistakes of")
    predictions = {name: read_predictions(run) for name, run in runs.items()}
    first = next(iter(predictions.values()))
    class_names = first.class_names
    wrong = np.zeros(len(first.rows), dtype=int)
    baselines: dict[str, np.ndarray] = {}
    for name, each in predictions.items():
        if not np.array_equal(each.labels, first.labels):
            raise UsageError(
                f"{name} was evaluated on other test texts than {next(iter(predictions))}"
            )
        wrong += ~are_right(first.labels, each.predicted)
        for baseline, predicted in each.baselines.items():
            baselines.setdefault(baseline, predicted)
    order = sorted(np.flatnonzero(wrong), key=lambda text: (-wrong[text], first.rows[text]))
    several = first.labels.ndim == 2

    def name_of(labels: np.ndarray, text: int) -> str:
        return label_text(labels_of(labels[text : text + 1])[0], class_names) or NO_CLASS

    def is_wrong(predicted: np.ndarray, text: int) -> bool:
        return not np.array_equal(predicted[text], first.labels[text])

    found = []
    for text in map(int, order):
        by_run = {
            name: WrongPrediction(
                name_of(each.predicted, text),
                None if several else float(each.probabilities[text, each.predicted[text]]),
            )
            for name, each in predictions.items()
            if is_wrong(each.predicted, text)
        }
        by_baseline = {
            name: WrongPrediction(name_of(predicted, text), None)
            for name, predicted in baselines.items()
            if is_wrong(predicted, text)
        }
        label = name_of(first.labels, text)
        found.append(Mistake(int(first.rows[text]), label, by_run, by_baseline))
    return Mistakes(len(first.rows), tuple(predictions), tuple(found))
