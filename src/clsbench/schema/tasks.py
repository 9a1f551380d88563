"""The defaults of an experiment that depend on the shape of its data set's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clsbench.schema.experiment import ACCURACY, DEFAULT_METRICS


class TaskDefaults(NamedTuple):
    """What an experiment uses that does not set it."""

    loss: str
    metric: str
    metrics: tuple[str, ...]


TASK_DEFAULTS: Mapping[str, TaskDefaults] = {
    "single-label": TaskDefaults("cross-entropy", ACCURACY, DEFAULT_METRICS),
    "multi-label": TaskDefaults(
        "binary-cross-entropy",
        "micro-f1",
        (ACCURACY, "micro-f1", "macro-f1", "average-precision", "log-loss"),
    ),
}
"""The defaults by the shape of the data set's labels."""
