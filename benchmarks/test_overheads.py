"""The overhead of the framework: its start, its training loop, and its measurements."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from clsbench.bench.interleaving import RaceRules, race
from clsbench.bench.load import LoadMeter
from clsbench.bench.phases import PhaseWorkload, phase_workloads
from clsbench.bench.sampling import Workload
from clsbench.bench.subject import Subject
from clsbench.fastpath.embedding_gradients import RowGradients, rows_of_gradients

CPU = torch.device("cpu")
ROUNDS = 60
"""The target number of rounds; the budget may end earlier."""


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


@pytest.mark.parametrize("runs", [0, 10_000])
@pytest.mark.benchmark(group="list of stored runs")
def test_list(timed: Callable[[Workload], None], runs: int, tmp_path: Path) -> None:
    """As many copies of one small run."""
    choices = {key: {"name": "x"} for key in ("dataset", "backbone", "pooling", "head", "freezing")}
    record = {
        "schema_version": 1, "status": "failed", "experiment": "x", "fingerprint": "0",
        "run_key": "0", "created": "2025-11-21T10:17:29+00:00",
        "spec": {**choices, "baselines": []},
        "spec_fingerprint": "0", "modified": False, "stand_ins": [], "plugins": [],
        "environment": {
            "device": "cpu", "device_name": "x", "precision": "fp32", "threads": 1,
            "deterministic": False, "clsbench": "0", "python": "0", "torch": "0", "platform": "x",
            "cpu": "x", "cpu_count": 1, "memory_bytes": 1,
        },
    }  # fmt: skip
    for number in range(runs):
        folder = tmp_path / f"20251121T101729Z-x-{number:08d}"
        folder.mkdir()
        (folder / "record.json").write_text(json.dumps(record))
    command = [sys.executable, "-m", "clsbench", "results", "--out", str(tmp_path)]

    def listed() -> None:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "left out" not in done.stderr

    timed(workload("list", listed))


@pytest.mark.benchmark(group="training loop")
def test_loop_against_bare_torch(
    benchmark: Any,
    make_subject: Callable[[torch.device, dict[str, Any]], Subject],
    timed: Callable[[Workload], None],
    pytestconfig: pytest.Config,
) -> None:
    """A train step of the framework without shortcuts, compared with the same step in plain torch.

    The ratio, measured by interleaved timing on equal classifiers, is stored in ``extra_info``.
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
        gradients.spread()  # both sides have row-sparse embedding gradients
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


@pytest.mark.benchmark(group="cost of measuring")
def test_a_look_at_the_load(timed: Callable[[Workload], None]) -> None:
    """Measured twice per sample, outside of the timing."""
    timed(workload("look", LoadMeter().look))


@pytest.mark.benchmark(group="cost of measuring")
def test_a_look_at_the_clock(timed: Callable[[Workload], None]) -> None:
    """Measured twice per sample, within the timing."""
    timed(workload("clock", time.perf_counter))


def test_a_sample_is_long_beside_what_measuring_it_costs() -> None:
    """The sampler adds nothing to the time of a call: a known sleep is measured correctly."""
    from clsbench.bench.sampling import Rules, take_samples

    seconds = 0.004
    sleeping = workload("sleep", lambda: time.sleep(seconds))
    found = take_samples(sleeping, Rules(budget_seconds=2, load_limit_cores=100)).seconds
    assert found is not None
    assert seconds <= found.median < 1.2 * seconds
