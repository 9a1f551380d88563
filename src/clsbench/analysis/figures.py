"""How metrics are described, read from a record, ordered and chosen for tables.

Every table, on the terminal, on the page and in CSV, Markdown, LaTeX or JSON, iterates a
:class:`ShownMetrics`. A metric itself is a component (:class:`clsbench.Metric`) of the catalog.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Iterable, Mapping
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from clsbench.components.catalog import Catalog
from clsbench.components.metric import Direction, Metric
from clsbench.components.resolve import make_metric
from clsbench.errors import UsageError
from clsbench.schema import experiment
from clsbench.schema.record import RunRecord, SplitMetrics

logger = logging.getLogger(__name__)

FIELDS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "accuracy-without-leaked": "accuracy_without_leaked",
    "log-loss": "loss",
    "macro-f1": "macro_f1",
    "ece": "ece",
    "brier": "brier",
}
"""Metrics that a record holds in a field of :class:`SplitMetrics`; others are in its ``scores``."""


class MetricInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a metric for tables; see :class:`clsbench.Metric`.

    ``name`` is its text in a spec, with options that are not the defaults.
    """

    name: str
    header: str
    meaning: str
    better: Direction
    limits: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    decimals: int = 4
    priority: int = 30
    summary: bool = True

    @property
    def column(self) -> str:
        """Its name in CSV and JSON, after the split: ``macro_f1``."""
        return column_of(self.name)

    def read(self, split: SplitMetrics) -> float | None:
        """The value of a classifier on a split; ``None`` if the record lacks it."""
        return read_metric(split, self.name)

    def order(self, value: float | None) -> float:
        """A key that sorts the best value first, and missing values last."""
        return math.inf if value is None or math.isnan(value) else -self.sign * value

    @property
    def sign(self) -> int:
        """1 if higher values are better, otherwise −1."""
        return 1 if self.better == "higher" else -1


def column_of(name: str) -> str:
    """The name of a metric in CSV and JSON: ``roc_auc``; records may have a shorter name."""
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return FIELDS.get(name, plain)


def read_metric(split: SplitMetrics, name: str) -> float | None:
    """The value of a metric by its name in a spec."""
    found: float | None = getattr(split, FIELDS[name]) if name in FIELDS else None
    return split.scores.get(name) if found is None else found


ACCURACY = MetricInfo(
    name=experiment.ACCURACY,
    header="accuracy",
    meaning="Share of the texts classified correctly; with several labels, in all of them.",
    better="higher",
    unit="%",
    decimals=2,
)
"""The accuracy, which every record has, with a confusion matrix and Wilson's interval."""

WITHOUT_LEAKED = MetricInfo(
    name="accuracy-without-leaked",
    header="not in train",
    meaning="Accuracy on the texts that do not occur word for word in the training split.",
    better="higher",
    unit="%",
    decimals=2,
)


class ShownMetrics(NamedTuple):
    """The metrics of tables: the ``primary`` one, by which rows are ordered and compared, and
    ``others`` than it and the accuracy.

    ``components`` compute them, by name; those of plugins that are not loaded are missing.
    """

    primary: MetricInfo = ACCURACY
    others: tuple[MetricInfo, ...] = ()
    components: Mapping[str, Metric] = {}

    def all(self) -> tuple[MetricInfo, ...]:
        """The accuracy, then the primary metric if that is another, then the others."""
        first = (ACCURACY,) if self.primary.name == ACCURACY.name else (ACCURACY, self.primary)
        return (*first, *self.others)


def describe_metric(name: str, metric: Metric) -> MetricInfo:
    """The description of a metric; ``name`` is its text in a spec."""
    base, colon, options = name.partition(":")
    header = metric.header or base
    return MetricInfo(
        name=name,
        header=f"{header} ({options})" if colon else header,
        meaning=metric.meaning or (type(metric).__doc__ or "").strip().partition("\n")[0],
        better=metric.better,
        limits=(float(metric.limits[0]), float(metric.limits[1])),
        unit=metric.unit,
        decimals=metric.decimals,
        priority=metric.priority,
        summary=metric.summary,
    )


def shown_metrics(
    catalog: Catalog, records: Iterable[RunRecord], metric: str | None = None
) -> ShownMetrics:
    """The metrics that the experiments of these records list, and the primary one.

    ``metric`` is the primary metric that the user names. By default it is that of the experiments;
    if they name different ones, the accuracy.

    Raises:
        UsageError: ``metric`` does not exist.
    """
    specs = [record.spec for record in records]
    named = dict.fromkeys(each for spec in specs for each in listed_metrics(spec))
    found: dict[str, MetricInfo] = {}
    components: dict[str, Metric] = {}

    def add(text: str) -> str:
        name, component = make_metric(text, catalog)
        info = describe_metric(name, component)
        if any(each.header == info.header for n, each in found.items() if n != name):
            info = msgspec.structs.replace(info, header=f"{info.header} ({name})")
        components[name], found[name] = component, info
        return name

    for text in named or experiment.DEFAULT_METRICS:
        try:
            add(text)
        except UsageError:
            found[text] = _not_registered(text)
    primary = add(metric) if metric is not None else _agreed(map(primary_of, specs), components)
    others = [each for name, each in found.items() if name not in (primary, ACCURACY.name)]
    return ShownMetrics(found.get(primary, ACCURACY), tuple(others), components)


def listed_metrics(spec: Mapping[str, Any]) -> list[str]:
    """The metrics of a stored spec, its primary one included; specs of older versions list none."""
    return list(dict.fromkeys([*spec.get("metrics", experiment.DEFAULT_METRICS), primary_of(spec)]))


def primary_of(spec: Mapping[str, Any]) -> str:
    """The primary metric of a stored spec."""
    return str(spec.get("metric", experiment.ACCURACY))


def _agreed(primaries: Iterable[str], registered: Container[str]) -> str:
    different = list(dict.fromkeys(primaries)) or [ACCURACY.name]
    if len(different) > 1:
        logger.warning(
            "the runs have different primary metrics (%s), so the accuracy orders them; choose one "
            "with --metric", ", ".join(different),
        )  # fmt: skip
        return ACCURACY.name
    if different[0] not in registered and different[0] != ACCURACY.name:
        logger.warning(
            "the primary metric %s is not registered, so the accuracy orders the runs; load its "
            "plugin with --plugin", different[0],
        )  # fmt: skip
        return ACCURACY.name
    return different[0]


def _not_registered(name: str) -> MetricInfo:
    """A metric of a plugin that is not loaded; records hold its values."""
    return MetricInfo(
        name=name, header=name, meaning="", better="higher", limits=(-math.inf, math.inf)
    )


def mean_scores(splits: Iterable[SplitMetrics], metrics: Iterable[MetricInfo]) -> dict[str, float]:
    """The mean of each metric over several seeds by column, without those that are missing."""
    splits = list(splits)
    values = {m.column: [v for s in splits if (v := m.read(s)) is not None] for m in metrics}
    return {name: fmean(found) for name, found in values.items() if found}
