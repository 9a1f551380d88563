"""The sides of a comparison: the runs of one experiment with several seeds, or a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clsbench.analysis.shared_texts import trained_alike
from clsbench.results.predictions import Predictions
from clsbench.results.run_names import names_of
from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult

BASELINE = "baseline "
"""The prefix of a baseline's name as a contender; its component follows."""


class Side(NamedTuple):
    """Runs of one experiment, or a baseline, on the test texts with these ``labels`` (N,).

    ``predictions`` by seed are empty for a baseline. ``predicted`` (N,) is by seed, too; the seed
    is ``None`` for a baseline with equal predictions for every seed. ``differs``: other runs with
    the same seed have other predictions of this baseline, because their features differ.
    """

    name: str
    runs: tuple[StoredRun, ...]
    predictions: Mapping[int | None, Predictions]
    labels: np.ndarray
    num_classes: int
    predicted: Mapping[int | None, np.ndarray]
    differs: bool = False


def sides_of(
    predictions: Sequence[tuple[StoredRun, Predictions]], given: Mapping[str, str] | None
) -> list[Side]:
    """The runs by experiment, device kind and precision; ``given`` are names by directory."""
    groups: dict[str, dict[int, tuple[StoredRun, Predictions]]] = {}
    for run, each in predictions:
        environment = run.record.environment
        key = f"{run.record.fingerprint} {environment.device.partition(':')[0]} "
        key += environment.precision
        # Repeated runs of one seed are not independent: the first one counts.
        groups.setdefault(key, {}).setdefault(int(run.record.spec["seed"]), (run, each))
    firsts = [next(iter(group.values()))[0] for group in groups.values()]
    names = names_of(firsts) if given is None else [given[run.path.name] for run in firsts]
    return [
        Side(
            name,
            tuple(run for run, _ in group.values()),
            {seed: each for seed, (_, each) in group.items()},
            predictions[0][1].labels,
            len(predictions[0][1].class_names),
            {seed: each.predicted for seed, (_, each) in group.items()},
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]


def baseline_sides(predictions: Sequence[tuple[StoredRun, Predictions]]) -> list[Side]:
    """Each baseline with its predictions by seed, or once if they are the same for every seed."""
    found: dict[str, dict[int, tuple[StoredRun, np.ndarray]]] = {}
    differing: set[str] = set()
    _, of_first = predictions[0]
    chosen = max((run for run, _ in predictions), key=train_texts)
    for run, each in predictions:
        for name, answer in each.baselines.items() if trained_alike(chosen, run) else ():
            known = found.setdefault(name, {}).setdefault(
                int(run.record.spec["seed"]), (run, answer)
            )
            if not np.array_equal(known[1], answer):
                differing.add(name)
    sides = []
    for name, by_seed in found.items():
        predicted: dict[int | None, np.ndarray] = {
            seed: each for seed, (_, each) in by_seed.items()
        }
        one, *others = predicted.values()
        if all(np.array_equal(one, other) for other in others):
            predicted = {None: one}
        runs = tuple(run for run, _ in by_seed.values())
        classes = len(of_first.class_names)
        side = Side(f"{BASELINE}{name}", runs, {}, of_first.labels, classes, predicted)
        sides.append(side._replace(differs=name in differing))
    return sides


def baseline_answers(side: Side) -> list[tuple[BaselineResult, np.ndarray]]:
    """The results of a baseline in each run, with its predictions."""
    name = side.name.removeprefix(BASELINE)
    return [
        (b, side.predicted[None if None in side.predicted else int(run.record.spec["seed"])])
        for run in side.runs
        for b in run.record.baselines
        if b.component == name
    ]


def train_texts(run: StoredRun) -> int:
    """The number of training texts; zero if it is unknown."""
    return run.record.data.sizes["train"] if run.record.data is not None else 0
