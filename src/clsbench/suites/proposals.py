"""Ask a tuner for the next trials of a row, and check its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clsbench.components.catalog import Catalog
from clsbench.components.chosen import make_component
from clsbench.components.metric import Metric
from clsbench.components.resolve import make_metric
from clsbench.components.tuner import Trial, Tuner
from clsbench.errors import PluginError, UsageError
from clsbench.schema.changes import changes_text
from clsbench.schema.experiment import format_component
from clsbench.schema.tuning import TuneSpec


class Tuning(NamedTuple):
    """The tuner, and the search that is equal for all rows: its space, its ``trials`` for each row,
    its seed, and the primary ``metric``, by which trials are chosen, as a ``component``."""

    tuner: Tuner
    label: str
    spec: TuneSpec
    trials: int
    seed: int
    metric: str
    component: Metric

    @property
    def lower(self) -> bool:
        """Whether lower values of the metric by which trials are chosen are better."""
        return self.component.better == "lower"

    def next_points(self, tried: Sequence[Trial]) -> list[dict[str, Any]]:
        """The next points to try; none if all trials of the row have ended.

        Raises:
            PluginError: the tuner fails or breaks its contract.
        """
        left = self.trials - len(tried)
        if left <= 0:
            return []
        try:
            answer = self.tuner.propose(self.spec.space, self.trials, self.seed, tuple(tried))
            points = [dict(point) for point in answer]
        except Exception as error:
            raise PluginError(f"tuner {self.label}: {type(error).__name__}: {error}") from error
        if not 1 <= len(points) <= left:
            raise PluginError(
                f"tuner {self.label}: propose() returned {len(points)} points, expected 1 to {left}"
            )
        known: list[Mapping[str, Any]] = [trial.point for trial in tried]
        for point in points:
            if not self._is_in_the_space(point) or point in known:
                raise PluginError(
                    f"tuner {self.label}: propose() returned {changes_text(point)}, which "
                    + ("was tried before" if point in known else "is not in the space")
                )
            known.append(point)
        return [{key: point[key] for key in self.spec.space} for point in points]

    def _is_in_the_space(self, point: Mapping[str, Any]) -> bool:
        space = self.spec.space
        return point.keys() == space.keys() and all(point[key] in space[key] for key in space)


def make_tuning(spec: TuneSpec, seed: int, metric: str, catalog: Catalog) -> Tuning:
    """The tuning of a suite, with the number of trials of each row.

    Raises:
        UsageError: the tuner does not exist, lacks a library, or does not fit the number of trials.
    """
    label = format_component(spec.tuner)
    tuner = make_component(label, "tuners", catalog)
    assert isinstance(tuner, Tuner)
    tuner.check_available()
    name, component = make_metric(metric, catalog)
    if tuner.exhaustive:
        if spec.trials is not None:
            raise UsageError(
                f"--tuner {label} tries every combination ({spec.points:,}) and takes no number of "
                "trials; leave out --trials, or use --tuner random"
            )
        return Tuning(tuner, label, spec, spec.points, seed, name, component)
    if spec.trials is None:
        raise UsageError(
            f"--tuner {label} requires the number of trials of each row, --trials N, at most "
            f"{spec.points:,} here; --tuner grid tries every combination"
        )
    if spec.trials > spec.points:
        raise UsageError(
            f"--trials {spec.trials}: there are only {spec.points:,} combinations of the values; "
            "use --tuner grid to try each of them"
        )
    return Tuning(tuner, label, spec, spec.trials, seed, name, component)
