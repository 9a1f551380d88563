"""Misclassified test texts, and which runs misclassify them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clsbench.errors import UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun


class WrongPrediction(NamedTuple):
    """The predicted class and its probability (``None`` for a baseline)."""

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
        wrong += each.predicted != first.labels
        for baseline, predicted in each.baselines.items():
            baselines.setdefault(baseline, predicted)
    order = sorted(np.flatnonzero(wrong), key=lambda text: (-wrong[text], first.rows[text]))
    found = []
    for text in order:
        label = first.labels[text]
        by_run = {
            name: WrongPrediction(
                class_names[each.predicted[text]],
                float(each.probabilities[text, each.predicted[text]]),
            )
            for name, each in predictions.items()
            if each.predicted[text] != label
        }
        by_baseline = {
            name: WrongPrediction(class_names[predicted[text]], None)
            for name, predicted in baselines.items()
            if predicted[text] != label
        }
        found.append(Mistake(int(first.rows[text]), class_names[label], by_run, by_baseline))
    return Mistakes(len(first.rows), tuple(predictions), tuple(found))
