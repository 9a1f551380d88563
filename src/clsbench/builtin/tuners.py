"""The tuners ``random``, ``grid`` and ``optuna``."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

import clsbench

_Space = Mapping[str, Sequence[Any]]
_Places = tuple[int, ...]

_REPEATS = 50
"""How often in a row Optuna may propose what was tried before a random combination replaces it."""


class RandomSearch(clsbench.Tuner, frozen=True):
    """Tries random combinations, none of them twice."""

    def propose(
        self, space: _Space, trials: int, seed: int, tried: Sequence[clsbench.Trial]
    ) -> Sequence[Mapping[str, Any]]:
        """The rest of the first ``trials`` combinations in the order that the seed gives.

        More trials extend this order, so that the trials of a smaller number are stored already.
        """
        known = [trial.point for trial in tried]
        first = itertools.islice(_random_order(space, seed), trials)
        return [point for point in (_point(space, places) for places in first)
                if point not in known]  # fmt: skip


class Grid(clsbench.Tuner, frozen=True):
    """Tries every combination; takes no --trials."""

    exhaustive = True

    def propose(
        self, space: _Space, trials: int, seed: int, tried: Sequence[clsbench.Trial]
    ) -> Sequence[Mapping[str, Any]]:
        """All combinations that were not tried, the last key changing fastest."""
        known = [trial.point for trial in tried]
        everything = itertools.product(*(range(len(values)) for values in space.values()))
        return [point for point in (_point(space, places) for places in everything)
                if point not in known]  # fmt: skip


class Optuna(clsbench.Tuner, frozen=True):
    """Optuna's TPE sampler: one trial after another, chosen by the scores so far.

    Needs optuna: pip install 'clsbench[optuna]'. Numbers count as ordered, other values as
    categories.
    """

    startup: Annotated[
        int, Meta(ge=1, description="random trials before scores decide what is tried")
    ] = 4

    adaptive = True

    def check_available(self) -> None:
        """Check that Optuna can be imported.

        Raises:
            UsageError: it cannot.
        """
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise clsbench.UsageError(
                f"tuner optuna: Optuna cannot be imported ({error}); install it: "
                "pip install 'clsbench[optuna]', or use --tuner random"
            ) from None

    def propose(
        self, space: _Space, trials: int, seed: int, tried: Sequence[clsbench.Trial]
    ) -> Sequence[Mapping[str, Any]]:
        """The next combination of a study that is replayed from its seed and the scores."""
        import optuna
        from optuna.distributions import CategoricalDistribution, IntDistribution
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = {
            key: IntDistribution(0, len(values) - 1)
            if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            else CategoricalDistribution(range(len(values)))
            for key, values in _ordered(space).items()
        }
        scores = {_places(space, trial.point): trial.score for trial in tried}
        for _ in range(_REPEATS + len(tried)):
            asked = study.ask(distributions)
            point = {key: _ordered(space)[key][asked.params[key]] for key in space}
            places = _places(space, point)
            if places not in scores:
                return [point]
            score = scores[places]
            failed = {"state": TrialState.FAIL} if score is None else {}
            study.tell(asked, score, **failed)
        return [
            _point(space, next(p for p in _random_order(space, seed) if p not in scores))
        ]  # fmt: skip


def _ordered(space: _Space) -> dict[str, list[Any]]:
    """The values of each key, numbers in ascending order."""
    return {
        key: sorted(values)
        if all(isinstance(value, int | float) for value in values)
        else list(values)
        for key, values in space.items()
    }


def _point(space: _Space, places: _Places) -> dict[str, Any]:
    return {key: values[place] for (key, values), place in zip(space.items(), places, strict=True)}


def _places(space: _Space, point: Mapping[str, Any]) -> _Places:
    return tuple(list(values).index(point[key]) for key, values in space.items())


def _random_order(space: _Space, seed: int) -> Iterator[_Places]:
    """All combinations in a random order, each once."""
    sizes = [len(values) for values in space.values()]
    generator, seen = random.Random(seed), set[_Places]()
    while len(seen) < math.prod(sizes):
        places = tuple(generator.randrange(size) for size in sizes)
        if places not in seen:
            seen.add(places)
            yield places


@clsbench.hookimpl
def clsbench_register_tuners() -> Mapping[str, type[clsbench.Tuner]]:
    """Register the tuners."""
    return {"random": RandomSearch, "grid": Grid, "optuna": Optuna}
