"""The time that a trained classifier takes for further texts, from the times of its run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, RunRecord


def seconds_per_1000(
    runs: Sequence[StoredRun], prefix_seconds: float | None = None
) -> float | None:
    """The mean seconds to classify 1,000 texts; ``None`` if it is unknown.

    A run classifies all texts of its splits once, in batches. ``prefix_seconds`` is the time of the
    frozen prefix of all texts, for runs that found it in a cache.
    """
    found = [_of_text(run.record, prefix_seconds) for run in runs]
    known = [seconds for seconds in found if seconds is not None]
    return 1000 * fmean(known) if known else None


def baseline_seconds_per_1000(
    runs: Sequence[StoredRun], results: Sequence[BaselineResult]
) -> float | None:
    """As :func:`seconds_per_1000`, for a baseline's ``results`` in these runs."""
    texts = next((_texts(run.record) for run in runs), 0)
    known = [r.prediction_seconds for r in results if r.prediction_seconds is not None]
    return 1000 * fmean(known) / texts if known and texts else None


def _of_text(record: RunRecord, prefix_seconds: float | None) -> float | None:
    texts, seconds = _texts(record), record.prediction_seconds
    if not texts or seconds is None:
        return None
    kept = record.fast_path.kept if record.fast_path is not None else None
    if kept is None:
        return seconds / texts
    if not kept.found + kept.continued:
        prefix_seconds = record.phases_seconds.get("prefix", 0.0)
    if prefix_seconds is None:
        return None
    return seconds / texts + prefix_seconds / max(kept.distinct, 1)


def _texts(record: RunRecord) -> int:
    return sum(record.data.sizes.values()) if record.data is not None else 0
