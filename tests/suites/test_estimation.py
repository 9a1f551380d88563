"""Estimates of a run's time without weights, compared with FLOPs counted by torch on weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

from clsbench.bench.flops import count_flops
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import Experiment, find_spec, resolve
from clsbench.experiment.planning import Planned, identify_run, plan_run
from clsbench.experiment.preparation import PreparedData, prepare_data, prepare_files
from clsbench.model.build import build_classifier
from clsbench.schema.options import RunOptions
from clsbench.schema.record import Estimate
from clsbench.suites.estimation import Speed, Work, estimate_run, measure_speed

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "dataset": "synthetic-sms:texts=100",
    "backbone": "gpt2-nano:weights=random",
    "data.padding": 16,
    "data.balance": False,
    "train.epochs": 2,
}
ONE_FLOP_A_SECOND = Speed(1.0, math.inf, 0.0)


class Case(NamedTuple):
    experiment: Experiment
    planned: Planned
    data: PreparedData

    def estimate(self, speed: Speed = ONE_FLOP_A_SECOND) -> Estimate:
        return estimate_run(self.experiment, self.planned, self.data, speed)


def case(plain: bool = False, **changes: Any) -> Case:
    catalog = load_catalog()
    options = RunOptions(device="cpu", threads=1, plain=plain)
    spec = find_spec("gpt2-sms-spam", catalog)
    experiment = resolve(spec, SMALL | changes, catalog)
    files = prepare_files(experiment, options, catalog)
    data = prepare_data(experiment, files.files)
    record = identify_run(experiment, options, CPU, files, data)
    return Case(experiment, plan_run(experiment, options, CPU, data, record), data)


def test_estimate_run_plain_run_equals_counted_flops() -> None:
    """Training batches, forward and backward, and evaluations."""
    found = case(plain=True, freezing="all")
    classifier = build_classifier(found.experiment, {}, 2, 123, "fp32")
    found.planned.freezing.apply(classifier, found.planned.freezing.ever())
    ids = torch.zeros(8, 16, dtype=torch.int64)
    lengths = torch.full((8,), 16)

    def step() -> None:
        F.cross_entropy(classifier(ids, lengths), torch.zeros(8, dtype=torch.int64)).backward()

    def evaluate() -> None:
        with torch.no_grad():
            classifier(ids, lengths)

    estimate = found.estimate()
    sizes = found.data.facts.sizes
    steps = 2 * (sizes["train"] // 8)
    # 10 and 5 batches per split before training, then 5 at steps 0 and 50 and after each epoch.
    few = {name: min(5, -(-size // 8)) for name, size in sizes.items()}
    before = sum(min(10, -(-size // 8)) for size in sizes.values()) + sum(few.values())
    looks = (1 + steps // 50 + 2) * (few["train"] + few["validation"])
    expected = steps * count_flops(step) + (before + looks) * count_flops(evaluate)
    # Attention without a fused kernel also counts the half that the causal mask discards.
    assert estimate.training_seconds == pytest.approx(expected, rel=0.02)
    assert estimate.prefix_seconds == 0


def test_estimate_run_shortcuts_reduce_the_time() -> None:
    whole = case(plain=True).estimate()
    cached = case().estimate()
    assert cached.prefix_seconds > 0
    assert cached.training_seconds < whole.training_seconds / 5
    packed = case(pooling="last-real-token").estimate()
    assert packed.prefix_seconds < cached.prefix_seconds
    moving = case(freezing="gradual").estimate()
    assert moving.training_seconds < case(plain=True, freezing="all").estimate().training_seconds


@pytest.mark.parametrize("freezing", ["all", "last-blocks"])
def test_estimate_run_includes_the_features_of_baselines(freezing: str) -> None:
    """One more pass over all texts, after the frozen prefix."""
    found = case(freezing=freezing).estimate()
    assert found.features_seconds == found.evaluation_seconds > 0
    without = case(freezing=freezing, baselines=["majority", "tfidf-logreg"]).estimate()
    assert without.features_seconds == 0
    assert found.seconds == without.seconds + found.features_seconds


def test_estimate_run_more_epochs_share_the_prefix() -> None:
    two, four = case().estimate(), case(**{"train.epochs": 4}).estimate()
    assert four.prefix_seconds == two.prefix_seconds
    assert 1.5 < four.training_seconds / two.training_seconds < 2.1


def test_work_seconds_are_the_maximum_of_compute_and_memory_time() -> None:
    work = Work(((100.0, 10.0), (0.0, 40.0)))
    assert work.seconds(Speed(10.0, 10.0, 0.5)) == 10 + 4 + 2 * 0.5


def test_measure_speed_is_positive_and_finite() -> None:
    speed = measure_speed(CPU, "fp32")
    for figure in (speed.flops_per_second, speed.bytes_per_second, speed.seconds_per_operation):
        assert 0 < figure < math.inf


def test_estimate_run_draws_no_random_numbers(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    large = case(backbone="gpt2-nano:weights=random", **{"data.padding": 128})
    assert large.estimate().seconds > case().estimate().seconds
    assert torch.equal(torch.random.get_rng_state(), state)
