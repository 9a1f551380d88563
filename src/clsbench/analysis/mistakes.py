"""Which test texts are called wrongly, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clsbench.errors import UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun


class WrongCall(NamedTuple):
    """The class that was called, and how sure the classifier was (``None`` for a baseline)."""

    called: str
    confidence: float | None


class Mistake(NamedTuple):
    """A text that some run called wrongly: its row in the corpus, its class, and who called it
    what; a run and a baseline that were right are not in them."""

    row: int
    label: str
    by_run: Mapping[str, WrongCall]
    by_baseline: Mapping[str, WrongCall]


class Mistakes(NamedTuple):
    """What ``names`` got wrong of ``texts`` test texts, the texts that most got wrong first."""

    texts: int
    names: tuple[str, ...]
    found: tuple[Mistake, ...]


def mistakes(runs: Mapping[str, StoredRun]) -> Mistakes:
    """The mistakes of stored runs that answered the same texts, by name.

    Raises:
        UsageError: there is no run, its answers are damaged, or the texts differ.
    """
    if not runs:
        raise UsageError("there is no run whose mistakes could be listed")
    answers = {name: read_predictions(run) for name, run in runs.items()}
    first = next(iter(answers.values()))
    class_names = first.class_names
    wrong = np.zeros(len(first.rows), dtype=int)
    baselines: dict[str, np.ndarray] = {}
    for name, each in answers.items():
        if not np.array_equal(each.labels, first.labels):
            raise UsageError(f"{name} did not answer the same test texts")
        wrong += each.predicted != first.labels
        for baseline, called in each.baselines.items():
            baselines.setdefault(baseline, called)
    order = sorted(np.flatnonzero(wrong), key=lambda text: (-wrong[text], first.rows[text]))
    found = []
    for text in order:
        label = first.labels[text]
        by_run = {
            name: WrongCall(
                class_names[each.predicted[text]],
                float(each.probabilities[text, each.predicted[text]]),
            )
            for name, each in answers.items()
            if each.predicted[text] != label
        }
        by_baseline = {
            name: WrongCall(class_names[called[text]], None)
            for name, called in baselines.items()
            if called[text] != label
        }
        found.append(Mistake(int(first.rows[text]), class_names[label], by_run, by_baseline))
    return Mistakes(len(first.rows), tuple(answers), tuple(found))
