from __future__ import annotations

import json
import math
import statistics

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_examples import SHOWN
from record_examples import STAND_INS, make_metrics, make_record
from scipy import stats

from clsbench.analysis.metrics import wilson_interval
from clsbench.analysis.seeds import (
    SeedSummary,
    accuracy_interval,
    spread,
    summarize_seeds,
)

UNLIMITED = (-math.inf, math.inf)
FRACTION = (0.0, 1.0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12))
def test_spread_agrees_with_scipy(values: list[float]) -> None:
    found = spread(values, UNLIMITED)
    assert found is not None
    assert (found.interval is None) == (found.sd == 0)
    assert found.sd == pytest.approx(float(np.std(values, ddof=1)), abs=1e-9)
    assert (found.n, found.min, found.max) == (len(values), min(values), max(values))
    error = float(stats.sem(values))
    if error > 1e-6 and found.interval is not None:
        interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert found.interval == pytest.approx(interval, rel=1e-9, abs=1e-9)
    low, high = found.interval or (found.mean, found.mean)
    assert low <= found.mean <= high


def test_spread_of_one_value_has_no_deviation() -> None:
    single = spread([0.5], FRACTION)
    assert single is not None
    assert (single.mean, single.sd, single.interval) == (0.5, None, None)
    assert spread([], FRACTION) is None


def test_spread_of_two_values_has_no_interval() -> None:
    pair = spread([0.4, 0.5], FRACTION)
    assert pair is not None
    assert pair.sd == pytest.approx(statistics.stdev([0.4, 0.5]))
    assert pair.interval is None
    assert json.loads(msgspec.json.encode(pair))["interval"] is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6))
def test_spread_of_fractions_is_within_0_and_1(values: list[float]) -> None:
    found = spread(values, FRACTION)
    assert found is not None
    low, high = found.interval or (found.mean, found.mean)
    assert 0 <= low <= found.mean <= high <= 1


def test_summarize_seeds_intervals_are_within_the_limits_of_their_metric() -> None:
    records = [
        make_record(seed=seed, metrics=make_metrics(accuracy, seed=seed))
        for seed, accuracy in enumerate((0.05, 0.5, 0.99))
    ]
    found = summarize_seeds(records, SHOWN.all()).splits["test"]
    for name in ("accuracy", "macro_f1", "accuracy_without_leaked"):
        figure = found[name]
        assert figure is not None
        assert figure.interval == (0, 1)
    loss = found["loss"]
    assert loss is not None
    assert loss.interval is not None
    assert loss.interval[0] == 0
    assert loss.interval[1] > 1


def test_spread_of_equal_values_has_no_interval() -> None:
    found = spread([0.25, 0.25, 0.25], FRACTION)
    assert found is not None
    assert found.interval is None, "another seed may differ"


def test_summarize_seeds_has_the_metrics_of_each_split() -> None:
    accuracies = (0.9, 0.93, 0.96)
    records = [
        make_record(seed=seed, metrics=make_metrics(accuracy, seed=seed))
        for seed, accuracy in enumerate(accuracies, 123)
    ]
    failed = make_record(seed=126, status="failed", metrics=None)
    summary = summarize_seeds([*records, failed], SHOWN.all())
    assert (summary.seeds, summary.runs) == ((123, 124, 125), 4)
    assert set(summary.splits) == {"train", "validation", "test"}
    measured = [r.metrics.test.accuracy for r in records if r.metrics]
    accuracy = summary.splits["test"]["accuracy"]
    assert accuracy is not None
    assert accuracy.mean == pytest.approx(statistics.fmean(measured))
    assert accuracy.sd == pytest.approx(statistics.stdev(measured))
    loss = summary.splits["train"]["loss"]
    assert loss is not None
    assert loss.n == 3
    assert summary.splits["test"]["accuracy_without_leaked"] is not None
    assert summary.splits["train"]["accuracy_without_leaked"] is None


@given(
    st.integers(20, 400),
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
def test_accuracy_interval_is_at_least_as_wide_as_over_texts_or_seeds(
    texts: int, shares: list[float]
) -> None:
    accuracies = [round(share * texts) / texts for share in shares]
    low, high = accuracy_interval(accuracies, texts)
    mean = statistics.fmean(accuracies)
    over_texts = wilson_interval(min(mean * texts, texts), texts)
    over_seeds = spread(accuracies, FRACTION)
    assert over_seeds is not None
    for one, other in (over_texts, over_seeds.interval or over_texts):
        assert low <= one + 1e-12
        assert other - 1e-12 <= high
    if len(accuracies) < 3:
        assert (low, high) == pytest.approx(over_texts)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_accuracy_interval_covers_the_truth_in_simulations(seeds: int) -> None:
    """In 1,000 simulated rows, texts differ in difficulty and seeds in accuracy."""
    draws = np.random.default_rng(seeds)
    many = 1_000_000
    of_seeds = draws.normal(0, 0.02, size=many) if seeds > 1 else 0.0
    truth = float(np.clip(draws.beta(9, 1, size=many) + of_seeds, 0, 1).mean())
    texts, covered, rows = 300, 0, 1_000
    for _ in range(rows):
        of_texts = draws.beta(9, 1, size=texts)
        by_seed = draws.normal(0, 0.02, size=(seeds, 1)) if seeds > 1 else np.zeros((1, 1))
        right = draws.random((seeds, texts)) < np.clip(of_texts + by_seed, 0, 1)
        low, high = accuracy_interval([float(each.mean()) for each in right], texts)
        covered += low <= truth <= high
    assert covered >= 0.93 * rows


def test_seed_summary_as_json_reads_back() -> None:
    summary = summarize_seeds(
        [make_record(seed=s, stand_ins=STAND_INS) for s in (1, 2)], SHOWN.all()
    )
    encoded = msgspec.json.encode(summary)
    assert msgspec.json.decode(encoded, type=SeedSummary) == summary
    assert summary.stand_ins == ("synthetic-sms:texts=1494", "gpt2-nano")


def test_summarize_seeds_interrupted_runs_do_not_count() -> None:
    # A run that was interrupted after evaluation has metrics, but of a shorter training.
    records = [make_record(seed=1), make_record(seed=2, status="interrupted")]
    assert summarize_seeds(records, SHOWN.all()).seeds == (1,)
    assert summarize_seeds(records[1:], SHOWN.all()).splits == {}


def test_summarize_seeds_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        summarize_seeds([], SHOWN.all())
