"""The built-in metrics, for tests of tables and comparisons."""

from __future__ import annotations

from clsbench.analysis.figures import shown_metrics
from clsbench.components.catalog import load_catalog

CATALOG = load_catalog()
SHOWN = shown_metrics(CATALOG, ())
"""The metrics of an experiment that lists none."""
