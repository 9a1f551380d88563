"""The phases of an experiment: what each call does and counts, and the state it restores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from clsbench.bench.flops import count_flops
from clsbench.bench.phases import (
    PHASES,
    NotApplicable,
    PhaseWorkload,
    chosen_phases,
    phase_workloads,
)
from clsbench.bench.subject import Subject, prepare_subject
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.errors import UsageError
from clsbench.schema.options import default_options
from clsbench.system.environment import circumstances

CPU = torch.device("cpu")
CATALOG = load_catalog()
OPTIONS = default_options({"offline": True, "threads": 1})
CHANGES = {
    "dataset": "synthetic-sms:texts=300",
    "backbone": "gpt2-nano:weights=random",
    "train.batch_size": 4,
}


def subject(device: torch.device = CPU, **changes: object) -> Subject:
    experiment = resolve(find_spec("gpt2-sms-spam", CATALOG), {**CHANGES, **changes}, CATALOG)
    return prepare_subject(experiment, OPTIONS, device, CATALOG)


@pytest.fixture(autouse=True)
def _as_a_benchmark() -> Iterator[None]:
    with circumstances(OPTIONS):
        yield


def workload(of: Subject, phase: str) -> PhaseWorkload:
    (found,) = phase_workloads(of, [phase])
    assert isinstance(found, PhaseWorkload)
    return found


def run_twice(of: Subject, phase: str) -> PhaseWorkload:
    found = workload(of, phase)
    found.setup()
    try:
        found.call()
        found.call()
    finally:
        found.teardown()
    return found


POOLINGS = list(CATALOG.entries["poolings"])
FREEZING = list(CATALOG.entries["freezing_strategies"])
PAIRS = itertools.zip_longest(FREEZING, POOLINGS)


@pytest.mark.parametrize(
    ("freezing", "pooling"), [(f or FREEZING[0], p or POOLINGS[0]) for f, p in PAIRS]
)
def test_phase_workloads_run_for_every_strategy_and_pooling(
    freezing: str, pooling: str, device: torch.device
) -> None:
    """Every registered component can be timed."""
    ready = subject(device, freezing=freezing, pooling=pooling)
    for found in phase_workloads(ready, list(PHASES)):
        if isinstance(found, NotApplicable):
            assert found.phase in ("prefix", "cached train step")
            assert found.reason
            continue
        found.setup()
        try:
            found.call()
        finally:
            found.teardown()
        assert found.examples == (16 if found.phase == "prefix" else 4)
        assert 0 < found.real_tokens <= found.padded_tokens


def test_subject_batch_spans_shortest_to_longest_text() -> None:
    ready = subject()
    lengths = ready.rows.lengths.tolist()
    assert lengths == sorted(lengths)
    assert lengths[-1] == ready.record.data.max_length
    assert lengths[0] == min(ready.prefix_rows.lengths.tolist())
    forward = workload(ready, "forward")
    assert forward.real_tokens == sum(lengths)
    assert forward.padded_tokens == 4 * ready.record.data.max_length
    encoded = [len(ready.encoder.encode(text).ids) for text in ready.texts]
    assert workload(ready, "tokenize").real_tokens == sum(encoded) == sum(lengths)


def test_forward_phase_flops_equal_the_closed_formula() -> None:
    ready = subject(pooling="last-token")
    backbone = ready.classifier.backbone
    blocks, width = len(backbone.trf_blocks), ready.experiment.backbone.hidden_size()
    batch, tokens = ready.rows.input_ids.shape
    linear = 2 * batch * tokens * 12 * width**2  # four of H × H, and two of H × 4H
    attention = 2 * 2 * batch * tokens**2 * width // 2  # causal: half of the scores
    head = 2 * batch * width * 2
    forward = workload(ready, "forward")
    forward.setup()
    assert count_flops(forward.call) == blocks * (linear + attention) + head


def test_train_step_phase_flops_equal_the_sum_of_its_parts() -> None:
    ready = subject(freezing="all")
    counted, moved = {}, {}
    for phase in ("forward", "forward+backward", "optimizer step", "train step"):
        found = workload(ready, phase)
        moved[phase] = found.moved_bytes
        found.setup()
        counted[phase] = count_flops(found.call)
        found.teardown()
    assert counted["train step"] == counted["forward+backward"]
    assert counted["optimizer step"] == 0
    trained = sum(parameter.numel() for parameter in ready.classifier.parameters())
    assert moved["optimizer step"] == 7 * 4 * trained  # float32: read four, write three
    assert not any(moved[phase] for phase in counted if phase != "optimizer step")
    assert 2.9 < counted["forward+backward"] / counted["forward"] < 3.4


def test_step_phases_restore_the_classifier_after_timing(device: torch.device) -> None:
    ready = subject(device, freezing="all", pooling="last-real-token")
    before = {n: t.clone() for n, t in ready.classifier.state_dict().items()}
    for found in phase_workloads(ready, list(PHASES)):
        if isinstance(found, NotApplicable):
            continue
        found.setup()
        try:
            found.call()
            same = torch.equal(ready.classifier.out_head.weight, before["out_head.weight"])
            assert same == ("step" not in found.phase)
        finally:
            found.teardown()
        for name, tensor in ready.classifier.state_dict().items():
            assert torch.equal(tensor, before[name]), (found.phase, name)
        if "step" in found.phase:
            assert all(p.grad is None for p in ready.classifier.parameters())


def test_prefix_phase_counts_distinct_texts_once() -> None:
    """Duplicates pass through the prefix only once, so they must not be counted."""
    ready = subject(**{"train.batch_size": 70, "dataset": "synthetic-sms:texts=500"})
    rows = {tuple(row) for row in ready.prefix_rows.input_ids.tolist()}
    prefix = workload(ready, "prefix")
    assert prefix.examples == len(rows) == len(ready.prefix_rows) < 280


def test_subject_batch_larger_than_the_split_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_size = 5000 is larger than the training split"):
        subject(**{"train.batch_size": 5000})


def test_cached_train_step_phase_restores_dense_embeddings(device: torch.device) -> None:
    """Otherwise the next phase would time another classifier."""
    ready = subject(device, freezing="all", pooling="last-real-token")
    run_twice(ready, "cached train step")
    assert not any(m.sparse for m in ready.classifier.modules() if isinstance(m, nn.Embedding))


def test_phase_workloads_inapplicable_phases_give_the_reason() -> None:
    ready = subject(freezing="all", pooling="mean:include_padding=true")
    left_out = [w for w in phase_workloads(ready, list(PHASES)) if isinstance(w, NotApplicable)]
    assert [each.phase for each in left_out] == ["prefix", "cached train step"]
    assert left_out[0].reason == "the first stage (embeddings) is trained"
    assert "prefix: the first stage (embeddings) is trained" in left_out[1].reason


def test_chosen_phases_are_ordered_and_unknown_names_are_refused() -> None:
    assert chosen_phases(()) == tuple(PHASES)
    assert chosen_phases(("train step", "forward")) == ("forward", "train step")
    with pytest.raises(UsageError, match=r"unknown phase 'foward'.*forward"):
        chosen_phases(("foward",))
