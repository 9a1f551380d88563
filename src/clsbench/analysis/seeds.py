"""A summary of several seeds of one experiment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

import msgspec

from clsbench.analysis.figures import ACCURACY, WITHOUT_LEAKED, MetricInfo
from clsbench.analysis.metrics import CONFIDENCE, wilson_interval
from clsbench.schema.record import RunRecord, SplitMetrics

SPLITS = ("train", "validation", "test")


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A metric over ``n`` seeds.

    ``sd`` is the sample standard deviation, ``None`` for a single seed. ``interval`` is Student's
    95 % interval of the mean over seeds, clipped to possible values; ``None`` for fewer than three
    seeds and if all values are equal. It reflects the variation between seeds, not between sets of
    test texts.
    """

    n: int
    mean: float
    sd: float | None
    min: float
    max: float
    interval: tuple[float, float] | None


class SeedSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The finished runs of an experiment with several seeds.

    ``splits`` holds each metric by split and column, ``None`` if no run has it.
    """

    experiment: str
    seeds: tuple[int, ...]
    runs: int
    stand_ins: tuple[str, ...]
    splits: dict[str, dict[str, Spread | None]]


FEWEST_SEEDS = 3
"""The fewest seeds with an interval; with two it would be 18 standard deviations wide."""


def spread(values: Sequence[float], limits: tuple[float, float]) -> Spread | None:
    """Mean, standard deviation, range and t interval of ``values``; ``None`` without values.

    ``limits`` are the lowest and the highest possible value of the metric.
    """
    if not values:
        return None
    n, mean = len(values), fmean(values)
    sd = stdev(values) if n > 1 else None
    interval = None
    if sd and n >= FEWEST_SEEDS:
        half = _half_width(sd, n)
        lowest, highest = limits
        interval = (max(mean - half, lowest), min(mean + half, highest))
    return Spread(n=n, mean=mean, sd=sd, min=min(values), max=max(values), interval=interval)


def accuracy_interval(accuracies: Sequence[float], texts: int) -> tuple[float, float]:
    """The 95 % interval of the mean accuracy of runs on the same test texts, ``texts`` of them.

    It is Wilson's interval over texts. From three seeds on, it is widened by Student's interval
    over seeds: the half-width is the root of the sum of both squares, so the interval is never
    narrower than that of a single run with this accuracy.
    """
    over_texts = wilson_interval(min(fmean(accuracies) * texts, texts), texts)
    return widened_by_seeds(over_texts, accuracies, ACCURACY.limits)


def widened_by_seeds(
    over_texts: tuple[float, float], values: Sequence[float], limits: tuple[float, float]
) -> tuple[float, float]:
    """The interval of the mean of ``values`` over texts, from three seeds on widened by seeds."""
    mean, (low, high) = fmean(values), over_texts
    over_seeds = spread(values, limits)
    if over_seeds is not None and over_seeds.sd and over_seeds.n >= FEWEST_SEEDS:
        half = _half_width(over_seeds.sd, over_seeds.n)
        low, high = mean - math.hypot(mean - low, half), mean + math.hypot(high - mean, half)
    return max(low, limits[0]), min(high, limits[1])


def _half_width(sd: float, n: int) -> float:
    """Half the width of Student's interval for a mean."""
    from scipy.special import stdtrit  # slow to load

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)


def summarize_seeds(records: Iterable[RunRecord], metrics: Sequence[MetricInfo]) -> SeedSummary:
    """Summarize runs of one experiment that differ in their seed; ``runs`` counts failed ones too.

    ``metrics`` are summarized, and the accuracy without leaked texts.

    Raises:
        ValueError: ``records`` is empty.
    """
    records = list(records)
    if not records:
        raise ValueError("there are no runs to summarize")
    finished = [r for r in records if r.status == "finished" and r.metrics is not None]
    return SeedSummary(
        experiment=records[0].experiment,
        seeds=tuple(int(record.spec["seed"]) for record in finished),
        runs=len(records),
        stand_ins=tuple(dict.fromkeys(s.by for record in records for s in record.stand_ins)),
        splits={split: _split_spread(finished, split, (*metrics, WITHOUT_LEAKED))
                for split in SPLITS} if finished else {},
    )  # fmt: skip


def _split_spread(
    records: Sequence[RunRecord], split: str, metrics: Sequence[MetricInfo]
) -> dict[str, Spread | None]:
    found: list[SplitMetrics] = [getattr(record.metrics, split) for record in records]
    values = {m: [v for each in found if (v := m.read(each)) is not None] for m in metrics}
    return {metric.column: spread(known, metric.limits) for metric, known in values.items()}
