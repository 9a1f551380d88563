from __future__ import annotations

import statistics

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clsbench.results.seeds import SeedSummary, spread, summarise_seeds
from record_examples import STAND_INS, make_metrics, make_record


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12))
def test_spread_agrees_with_scipy(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.interval is not None
    assert found.sd == pytest.approx(float(np.std(values, ddof=1)), abs=1e-9)
    assert (found.n, found.min, found.max) == (len(values), min(values), max(values))
    error = float(stats.sem(values))
    if error > 1e-6:
        interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.interval == pytest.approx(interval, rel=1e-9, abs=1e-9)
    assert found.interval[0] <= found.mean <= found.interval[1]


def test_one_value_has_no_spread_and_none_nothing() -> None:
    single = spread([0.5])
    assert single is not None
    assert (single.mean, single.sd, single.interval) == (0.5, None, None)
    assert spread([]) is None


def test_equal_values_have_an_interval_without_width() -> None:
    found = spread([0.25, 0.25, 0.25])
    assert found is not None
    assert found.interval == (0.25, 0.25)


def test_seeds_are_summed_up_by_split() -> None:
    accuracies = (0.9, 0.93, 0.96)
    records = [
        make_record(seed=seed, metrics=make_metrics(accuracy, seed=seed))
        for seed, accuracy in enumerate(accuracies, 123)
    ]
    failed = make_record(seed=126, status="failed", metrics=None)
    summary = summarise_seeds([*records, failed])
    assert (summary.seeds, summary.runs) == ((123, 124, 125), 4)
    assert set(summary.splits) == {"train", "validation", "test"}
    measured = [r.metrics.test.accuracy for r in records if r.metrics]
    accuracy = summary.splits["test"].accuracy
    assert accuracy is not None
    assert accuracy.mean == pytest.approx(statistics.fmean(measured))
    assert accuracy.sd == pytest.approx(statistics.stdev(measured))
    loss = summary.splits["train"].loss
    assert loss is not None
    assert loss.n == 3
    assert summary.splits["test"].accuracy_without_leaked is not None
    assert summary.splits["train"].accuracy_without_leaked is None


def test_the_summary_is_json() -> None:
    summary = summarise_seeds([make_record(seed=s, stand_ins=STAND_INS) for s in (1, 2)])
    encoded = msgspec.json.encode(summary)
    assert msgspec.json.decode(encoded, type=SeedSummary) == summary
    assert summary.stand_ins == ("synthetic-sms:texts=1494", "gpt2-nano")


def test_interrupted_runs_do_not_count() -> None:
    # One that was interrupted after evaluation has metrics, yet of a shorter training.
    records = [make_record(seed=1), make_record(seed=2, status="interrupted")]
    assert summarise_seeds(records).seeds == (1,)
    assert summarise_seeds(records[1:]).splits == {}


def test_no_runs_cannot_be_summed_up() -> None:
    with pytest.raises(ValueError, match="no runs"):
        summarise_seeds([])
