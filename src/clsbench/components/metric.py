"""The base class of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import msgspec

from clsbench.components.component import Component, unwritten
from clsbench.components.labels import Task
from clsbench.schema.experiment import format_component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Direction = Literal["higher", "lower"]
"""Whether higher or lower values are better."""


class Metric(Component, frozen=True):
    """Computes a figure of a classifier from its predictions for one split.

    The class variables describe it in tables. ``header`` is its title (default: its name),
    ``meaning`` an explanation (default: the first line of the docstring). ``better`` is
    ``"higher"`` or ``"lower"``, ``limits`` are the lowest and the highest possible value. A value
    with the unit ``"%"`` is a fraction, shown in percent; others have ``decimals`` digits.

    ``tasks`` are the shapes of labels that it accepts. A metric with ``needs_probabilities =
    False`` reads only which class has the highest probability: it is given 1 for the class that is
    predicted, and baselines without probabilities have it, too.

    On a narrow terminal, columns with the lowest ``priority`` are left out first. ``summary``: the
    terminal's tables of suites and comparisons have a column for it.
    """

    header: ClassVar[str] = ""
    meaning: ClassVar[str] = ""
    better: ClassVar[Direction] = "higher"
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    unit: ClassVar[str] = ""
    decimals: ClassVar[int] = 4
    tasks: ClassVar[tuple[Task, ...]] = ("single-label",)
    needs_probabilities: ClassVar[bool] = True
    priority: ClassVar[int] = 30
    summary: ClassVar[bool] = True

    def compute(self, labels: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
        """The figure; the order of the texts does not matter.

        ``labels`` are class indices (N,) int64, for the task ``multi-label`` (N, C) bool.
        ``probabilities`` are (N, C) float64. Neither may be changed.

        Raises:
            ValueError: it is undefined for these labels; the message says why, as in ``"all texts
                have the same class"``.
        """
        raise unwritten(self, "compute")


def metric_label(name: str, metric: Metric) -> str:
    """The text that names a metric: its name, with the options that are not the defaults."""
    changed = {}
    for field in msgspec.structs.fields(metric):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        value = getattr(metric, field.name)
        if default is msgspec.NODEFAULT or value != default:
            changed[field.name] = msgspec.to_builtins(value)
    return format_component({"name": name, **changed})


def description_problem(metric: type[Metric]) -> str | None:
    """Why the class variables of a metric are not valid; ``None`` if they are."""
    if metric.better not in get_args(Direction):
        return f"better is {metric.better!r}, expected one of {get_args(Direction)}"
    if not isinstance(metric.tasks, tuple) or not set(metric.tasks) <= {*get_args(Task)}:
        return f"tasks is {metric.tasks!r}, expected a tuple of some of {get_args(Task)}"
    texts = {"header": metric.header, "meaning": metric.meaning, "unit": metric.unit}
    for name, value in texts.items():
        if not isinstance(value, str):
            return f"{name} is {value!r}, expected text"
    try:
        low, high = metric.limits
        valid = float(low) < float(high)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        return f"limits is {metric.limits!r}, expected the lowest and the highest possible value"
    if not isinstance(metric.decimals, int) or not 0 <= metric.decimals <= 17:
        return f"decimals is {metric.decimals!r}, expected a number of digits from 0 to 17"
    return None
