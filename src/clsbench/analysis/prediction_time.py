"""The time that a trained classifier takes for further texts, from the times of its run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from clsbench.results.store import StoredRun
from clsbench.schema.record import BaselineResult, RunRecord


def seconds_per_1000(runs: Sequence[StoredRun]) -> float | None:
    """The mean seconds to classify 1,000 texts; ``None`` if it is unknown.

    A run classifies all texts of its splits once, in batches. The time of a frozen prefix that was
    cached is that of the run which computed it.
    """
    found = [_of_text(run.record) for run in runs]
    known = [seconds for seconds in found if seconds is not None]
    return 1000 * fmean(known) if known else None


def baseline_seconds_per_1000(
    runs: Sequence[StoredRun], results: Sequence[BaselineResult]
) -> float | None:
    """As :func:`seconds_per_1000`, for a baseline's ``results`` in these runs."""
    texts = next((_texts(run.record) for run in runs), 0)
    known = [r.prediction_seconds for r in results if r.prediction_seconds is not None]
    return 1000 * fmean(known) / texts if known and texts else None


def found_seconds(record: RunRecord) -> float:
    """The time that earlier runs spent on the activations that this one reused, as far as it is
    known."""
    kept = record.fast_path.kept if record.fast_path is not None else None
    return kept.found_seconds or 0.0 if kept is not None else 0.0


def _of_text(record: RunRecord) -> float | None:
    texts, seconds = _texts(record), record.prediction_seconds
    if not texts or seconds is None:
        return None
    kept = record.fast_path.kept if record.fast_path is not None else None
    if kept is None:
        return seconds / texts
    if kept.found + kept.continued and kept.found_seconds is None:
        return None
    prefix_seconds = record.phases_seconds.get("prefix", 0.0) + found_seconds(record)
    return seconds / texts + prefix_seconds / max(kept.distinct, 1)


def _texts(record: RunRecord) -> int:
    return sum(record.data.sizes.values()) if record.data is not None else 0
