"""Add a metric to stored runs that did not list it, from their predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from msgspec.structs import replace

from clsbench.analysis.figures import read_metric
from clsbench.analysis.metrics import with_metrics
from clsbench.analysis.seeds import SPLITS
from clsbench.components.metric import Metric
from clsbench.errors import UsageError
from clsbench.results.predictions import read_predictions
from clsbench.results.store import StoredRun
from clsbench.schema.record import Metrics

logger = logging.getLogger(__name__)


def with_computed_metric(
    runs: Iterable[StoredRun], name: str, metric: Metric
) -> tuple[StoredRun, ...]:
    """The runs, with the metric in the record of each finished one for which it is defined.

    Stored records do not change. A run whose test predictions cannot be read is named in a warning.
    """
    return tuple(_computed(run, name, metric) for run in runs)


def _computed(run: StoredRun, name: str, metric: Metric) -> StoredRun:
    metrics = run.record.metrics
    if metrics is None or read_metric(metrics.test, name) is not None:
        return run
    found = {split: getattr(metrics, split) for split in SPLITS}
    for split, before in found.items():
        try:
            each = read_predictions(run, split)
        except UsageError as error:
            if split == "test":
                logger.warning("%s has no %s: %s", run.path.name, name, error)
        else:
            found[split] = with_metrics(
                before,
                {name: metric},
                each.labels,
                each.predicted,
                each.probabilities,
                len(each.class_names),
            )
    return StoredRun(run.path, replace(run.record, metrics=Metrics(**found)))
