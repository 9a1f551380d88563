"""What the framework costs beside the work: its start, its loop, and its measuring."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from clsbench.fastpath.embedding_gradients import RowGradients, rows_of_gradients
from clsbench.measure.load import LoadMeter
from clsbench.measure.phases import PhaseWorkload, phase_workloads
from clsbench.measure.racing import RaceRules, race
from clsbench.measure.sampling import Workload
from clsbench.measure.subjects import Subject

CPU = torch.device("cpu")
ROUNDS = 60
"""Wanted; the budget may end it before."""


def workload(name: str, do: Callable[[], object]) -> PhaseWorkload:
    return PhaseWorkload(
        name=name,
        phase=name,
        device=CPU,
        examples=1,
        real_tokens=0,
        padded_tokens=0,
        prepare=lambda stack: None,
        do=do,
    )


@pytest.mark.parametrize(
    "arguments",
    [["-c", "pass"], ["-m", "clsbench", "--help"], ["-m", "clsbench", "list"]],
    ids=["bare interpreter", "clsbench --help", "clsbench list"],
)
@pytest.mark.benchmark(group="start of the command line")
def test_start(timed: Callable[[Workload], None], arguments: list[str]) -> None:
    def start() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    timed(workload("start", start))


@pytest.mark.benchmark(group="training loop")
def test_loop_against_bare_torch(
    benchmark: Any,
    make_subject: Callable[[torch.device, dict[str, Any]], Subject],
    timed: Callable[[Workload], None],
    pytestconfig: pytest.Config,
) -> None:
    """A train step of the framework without shortcuts beside the same step written out in torch.

    The ratio, raced turn by turn on equal classifiers, stands in ``extra_info``.
    """
    other = make_subject(CPU, {"freezing": "all", "seed": 124})  # a classifier each
    (ours,) = phase_workloads(make_subject(CPU, {"freezing": "all"}), ["train step"])
    assert isinstance(ours, PhaseWorkload)
    limit_cores = pytestconfig.getoption("--load-limit")
    budget_seconds = 10 * pytestconfig.getoption("--seconds")
    ours.setup()
    try:
        with rows_of_gradients(other.classifier) as gradients:
            found = race(
                {"clsbench": ours.call, "torch": _bare_step(other, gradients)},
                RaceRules(ROUNDS, budget_seconds, limit_cores, 0.1),
            )
    finally:
        ours.teardown()
    comparison = found.compare("torch", "clsbench")
    benchmark.extra_info["clsbench_over_torch"] = comparison.ratio
    benchmark.extra_info["clsbench_over_torch_interval"] = [comparison.low, comparison.high]
    benchmark.extra_info["control"] = found.control("torch").ratio
    timed(ours)


def _bare_step(subject: Subject, gradients: RowGradients) -> Callable[[], torch.Tensor]:
    settings = subject.experiment.spec.train
    classifier, rows = subject.classifier, subject.rows
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    labels, input_ids, lengths = rows.labels, rows.input_ids, rows.lengths

    def step() -> torch.Tensor:
        loss = F.cross_entropy(classifier(input_ids, lengths), labels)
        loss.backward()
        gradients.spread()  # the embedding's are kept by rows on both sides
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


@pytest.mark.benchmark(group="cost of measuring")
def test_a_look_at_the_load(timed: Callable[[Workload], None]) -> None:
    """Two of them stand around every sample, outside of what is timed."""
    timed(workload("look", LoadMeter().look))


@pytest.mark.benchmark(group="cost of measuring")
def test_a_look_at_the_clock(timed: Callable[[Workload], None]) -> None:
    """Two of them stand within every sample."""
    timed(workload("clock", time.perf_counter))


def test_a_sample_is_long_beside_what_measuring_it_costs() -> None:
    """Nothing of the sampler is in the time of a call: a known sleep comes out as it is."""
    from clsbench.measure.sampling import Rules, take_samples

    seconds = 0.004
    sleeping = workload("sleep", lambda: time.sleep(seconds))
    found = take_samples(sleeping, Rules(budget_seconds=2, load_limit_cores=100)).seconds
    assert found is not None
    assert seconds <= found.median < 1.2 * seconds
