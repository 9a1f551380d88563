"""The built-in metrics, for tests of tables and comparisons."""

from __future__ import annotations

from clsbench.analysis.figures import ShownMetrics, shown_metrics
from clsbench.components.catalog import load_catalog

CATALOG = load_catalog()
SHOWN = shown_metrics(CATALOG, ())
"""The metrics of an experiment that lists none."""


def with_primary(metric: str) -> ShownMetrics:
    return shown_metrics(CATALOG, (), metric)
