"""The time for 1,000 texts follows from the times of a run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from record_examples import SIZES, make_record

from clsbench.analysis.prediction_time import baseline_seconds_per_1000, seconds_per_1000
from clsbench.results.store import StoredRun
from clsbench.schema.record import FastPath, KeptActivations

TEXTS = sum(SIZES.values())
KEPT = KeptActivations(
    texts=TEXTS, distinct=1000, computed=1000, found=0, recomputed=0, memory_bytes=1, disk_bytes=0
)


def run(kept: KeptActivations | None, seconds: float | None = TEXTS / 100) -> StoredRun:
    record = msgspec.structs.replace(
        make_record(),
        prediction_seconds=seconds,
        phases_seconds={"prefix": 20.0, "training": 5.0},
        fast_path=FastPath(shortcuts=(), kept=kept),
    )
    return StoredRun(Path("run"), record)


def test_seconds_per_1000_adds_the_prefix_of_distinct_texts() -> None:
    assert seconds_per_1000([run(None)]) == pytest.approx(10.0)
    assert seconds_per_1000([run(KEPT)]) == pytest.approx(30.0)


def test_seconds_per_1000_cached_prefix_has_the_time_of_the_run_that_computed_it() -> None:
    cached = msgspec.structs.replace(KEPT, computed=0, found=1000)
    assert seconds_per_1000([run(cached)]) is None
    known = msgspec.structs.replace(cached, found_seconds=40.0)
    assert seconds_per_1000([run(known)]) == pytest.approx(70.0)


def test_seconds_per_1000_older_record_is_unknown() -> None:
    assert seconds_per_1000([run(None, None)]) is None


def test_baseline_seconds_per_1000_is_a_mean_over_runs() -> None:
    (result, *_) = make_record().baselines
    timed = [
        msgspec.structs.replace(result, prediction_seconds=TEXTS / 1000 * factor)
        for factor in (1, 3)
    ]
    assert baseline_seconds_per_1000([run(None)], timed) == pytest.approx(2.0)
    assert baseline_seconds_per_1000([run(None)], [result]) is None
