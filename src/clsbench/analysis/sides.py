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

    ``predictions`` by seed are empty for a baseline. ``predicted`` (N,) and ``probabilities``
    (N, C), which a baseline may lack, are by seed, too; the seed is ``None`` for a baseline with
    equal ones for every seed. ``differs``: other runs with the same seed have other predictions of
    this baseline, because their features differ.
    """

    name: str
    runs: tuple[StoredRun, ...]
    predictions: Mapping[int | None, Predictions]
    labels: np.ndarray
    num_classes: int
    predicted: Mapping[int | None, np.ndarray]
    probabilities: Mapping[int | None, np.ndarray]
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
            {seed: each.probabilities for seed, (_, each) in group.items()},
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]


def baseline_sides(predictions: Sequence[tuple[StoredRun, Predictions]]) -> list[Side]:
    """Each baseline with its predictions by seed, or once if they are the same for every seed.

    Its probabilities are left out if the runs of some seed lack them.
    """
    found: dict[str, dict[int, tuple[StoredRun, np.ndarray]]] = {}
    given: dict[str, dict[int | None, np.ndarray]] = {}
    differing: set[str] = set()
    _, of_first = predictions[0]
    chosen = max((run for run, _ in predictions), key=train_texts)
    for run, each in predictions:
        for name, answer in each.baselines.items() if trained_alike(chosen, run) else ():
            seed = int(run.record.spec["seed"])
            known = found.setdefault(name, {}).setdefault(seed, (run, answer))
            if not np.array_equal(known[1], answer):
                differing.add(name)
            elif name in each.baseline_probabilities:
                given.setdefault(name, {}).setdefault(seed, each.baseline_probabilities[name])
    sides = []
    for name, by_seed in found.items():
        predicted = _once_if_equal({seed: each for seed, (_, each) in by_seed.items()})
        probabilities = given.get(name, {})
        complete = probabilities.keys() == by_seed.keys()
        sides.append(
            Side(
                f"{BASELINE}{name}",
                tuple(run for run, _ in by_seed.values()),
                {},
                of_first.labels,
                len(of_first.class_names),
                predicted,
                _once_if_equal(probabilities) if complete else {},
                name in differing,
            )
        )
    return sides


def _once_if_equal(by_seed: Mapping[int | None, np.ndarray]) -> Mapping[int | None, np.ndarray]:
    """The array under ``None`` if it is the same for every seed."""
    one, *others = by_seed.values()
    return {None: one} if all(np.array_equal(one, other) for other in others) else by_seed


def baseline_answers(side: Side) -> list[tuple[BaselineResult, np.ndarray, np.ndarray | None]]:
    """The results of a baseline in each run, with its predictions and probabilities."""
    name = side.name.removeprefix(BASELINE)

    def of(by_seed: Mapping[int | None, np.ndarray], run: StoredRun) -> np.ndarray | None:
        return by_seed.get(None if None in by_seed else int(run.record.spec["seed"]))

    found = []
    for run in side.runs:
        predicted = of(side.predicted, run)
        assert predicted is not None
        for result in run.record.baselines:
            if result.component == name:
                found.append((result, predicted, of(side.probabilities, run)))
    return found


def train_texts(run: StoredRun) -> int:
    """The number of training texts; zero if it is unknown."""
    return run.record.data.sizes["train"] if run.record.data is not None else 0
