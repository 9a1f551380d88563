"""Kept activations: in memory, on disk, recomputed; reused by later runs or invalid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fast_and_plain import EVERYTHING_IN_MEMORY, IN_FLOAT32, Outcome, Setup, random_splits, train
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

import clsbench
from clsbench.builtin.freezing_strategies import Gradual, HeadOnly, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastRealToken, LastToken, Mean
from clsbench.data.tokens import TokenizedSplits
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.chain import Chain, Inputs
from clsbench.fastpath.fast_forward import _BATCH_TOKENS, FastForward, Shortcuts
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.plan import FastPlan
from clsbench.model.classifier import Classifier
from clsbench.schema.record import KeptActivations
from clsbench.schema.training import TrainSettings

LENGTHS = [9, 4, 1, 0, 9, 5, 5, 7, 3, 8]
CIRCUMSTANCES = {"backbone": "tiny", "precision": "fp64", "device": "cpu"}


def setup(
    device: torch.device,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling | None = None,
    epochs: int = 3,
) -> Setup:
    settings = TrainSettings(epochs=epochs, batch_size=3, eval_every=2, eval_batches=2)
    pooling = pooling or LastToken()
    return Setup(TinyGPT2(), pooling, Linear(), freezing, None, settings, device=device)


def splits() -> TokenizedSplits:
    return random_splits(1, LENGTHS, WIDTH_TOKENS, VOCABULARY)


def key(classifier: Classifier, plan: FastPlan, cut: int) -> PrefixKey:
    return PrefixKeys(classifier, plan, CIRCUMSTANCES).at(cut)


def run(what: Setup, room: Room | None = EVERYTHING_IN_MEMORY, keyed: bool = False) -> Outcome:
    return train(what, splits(), torch.float64, room, key if keyed else None)


def kept(outcome: Outcome) -> KeptActivations:
    found = outcome.forward.kept()
    assert found is not None
    return found


def same(first: Outcome, second: Outcome) -> None:
    assert first.losses == pytest.approx(second.losses, rel=1e-9)
    assert first.evaluations == pytest.approx(second.evaluations, rel=1e-9)


def test_prefix_with_equal_rows_computes_them_once(device: torch.device) -> None:
    facts = kept(run(setup(device, LastBlocks())))
    texts = len(LENGTHS) + 5 + 5
    assert facts.texts == texts
    assert facts.distinct == facts.computed < texts
    assert (facts.found, facts.recomputed, facts.disk_bytes) == (0, 0, 0)
    assert facts.memory_bytes == facts.distinct * WIDTH_TOKENS * 12 * 8


def test_prefix_without_padding_keeps_only_real_tokens(device: torch.device) -> None:
    outcome = run(setup(device, LastBlocks(), LastRealToken()))
    data = splits()
    real = {
        tuple(row.tolist()): max(int(length), 1)
        for rows in data.by_name().values()
        for row, length in zip(rows.input_ids, rows.lengths, strict=True)
    }
    assert kept(outcome).memory_bytes <= sum(real.values()) * 12 * 8
    assert kept(outcome).memory_bytes >= (sum(real.values()) - WIDTH_TOKENS) * 12 * 8


@pytest.mark.parametrize("pooling", [LastToken(), LastRealToken(), Mean()], ids=repr)
def test_prefix_with_a_frozen_backbone_keeps_one_vector_per_text(
    pooling: clsbench.Pooling, device: torch.device
) -> None:
    facts = kept(run(setup(device, HeadOnly(), pooling)))
    assert facts.memory_bytes == facts.distinct * 12 * 8


@pytest.mark.parametrize("memory_bytes", [0, 2000])
def test_prefix_without_space_recomputes_rows(memory_bytes: int, device: torch.device) -> None:
    what = setup(device, LastBlocks())
    outcome = run(what, Room(memory_bytes, None))
    same(run(what, None), outcome)
    assert kept(outcome).recomputed > 0
    assert kept(outcome).memory_bytes <= memory_bytes


def test_prefix_without_space_computes_nothing_in_advance(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    monkeypatch.setitem(_BATCH_TOKENS, device.type, 2 * WIDTH_TOKENS)
    outcome = run(setup(device, LastBlocks()), Room(2 * WIDTH_TOKENS * 12 * 8, None))
    assert kept(outcome).computed == 4, "two batches of two: one that fits and one that does not"


def test_prefix_beyond_memory_is_kept_on_disk(tmp_path: Path, device: torch.device) -> None:
    what = setup(device, LastBlocks())
    outcome = run(what, Room(2000, DiskCache(tmp_path, 10**9)), keyed=True)
    same(run(what, None), outcome)
    facts = kept(outcome)
    assert facts.recomputed == 0
    assert 0 < facts.memory_bytes <= 2000 < facts.disk_bytes


def test_prefix_in_a_later_run_is_found(tmp_path: Path, device: torch.device) -> None:
    what = setup(device, LastBlocks(), LastRealToken())
    first = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    second = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    assert second.losses == first.losses
    assert (kept(second).computed, kept(second).found) == (0, kept(first).computed)


def test_prefix_with_several_cuts_computes_them_in_one_pass(
    tmp_path: Path, device: torch.device
) -> None:
    what = setup(device, Gradual(), epochs=4)
    outcome = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    same(run(what, None), outcome)
    assert kept(outcome).computed == kept(outcome).distinct
    again = run(setup(device, LastBlocks()), Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    assert kept(again).computed == 0, "the cut of last-blocks is one of gradual's"


def test_prefix_of_a_deeper_cut_continues_from_cached_rows(
    tmp_path: Path, device: torch.device
) -> None:
    """Runs that train two blocks, one block and none compute each block once in total."""

    def sweep(blocks: int) -> Outcome:
        what = setup(device, LastBlocks(n=blocks) if blocks else HeadOnly(), epochs=1)
        outcome = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
        same(run(what, None), outcome)
        return outcome

    first, second, third = kept(sweep(2)), kept(sweep(1)), kept(sweep(0))
    assert (first.continued, first.found) == (0, 0)
    for facts in (second, third):
        assert facts.continued == facts.computed == facts.distinct


def test_prefix_in_the_cache_recomputes_only_the_checked_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    """Four rows of an earlier run are checked, one of them without a token, and one row after the
    first step and after each epoch."""
    texts = 0
    run_stage = Chain.run

    def count(self: Chain, index: int, hidden: Any, context: Any, inputs: Inputs) -> Any:
        nonlocal texts
        real = not inputs.lengths.is_meta and bool(inputs.input_ids.any())  # no plan, no key
        texts += len(inputs.lengths) if index == 0 and real else 0
        return run_stage(self, index, hidden, context, inputs)

    monkeypatch.setattr(Chain, "run", count)
    for blocks, expected in ((2, kept(run(setup(device, LastBlocks()))).distinct + 2), (1, 3 + 2)):
        texts = 0
        what = setup(device, LastBlocks(n=blocks), epochs=1)
        run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
        assert texts == expected


class Alternating(clsbench.FreezingStrategy):
    """Trains the last block, then only the second, then the last again."""

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> list[str]:
        stage = "block.1" if epoch == 1 else "block.2"
        return [parameter.name for parameter in parameters if parameter.stage == stage]


@pytest.mark.parametrize("precision", [torch.float64, torch.float32], ids=str)
def test_prefix_with_a_returning_cut_continues_below_the_trained_stage(
    precision: torch.dtype, device: torch.device
) -> None:
    what = setup(device, Alternating())
    tolerance = 1e-9 if precision == torch.float64 else IN_FLOAT32[device.type]
    plain, fast = (train(what, splits(), precision, r) for r in (None, EVERYTHING_IN_MEMORY))
    assert fast.losses == pytest.approx(plain.losses, rel=tolerance)
    facts = kept(fast)
    assert facts.continued == facts.distinct


def test_prefix_after_an_interruption_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    monkeypatch.setitem(_BATCH_TOKENS, device.type, 4 * WIDTH_TOKENS)
    outcome = run(setup(device, LastBlocks(), epochs=1), Room(10**9, None))
    classifier, plan = outcome.forward.classifier, outcome.plan
    assert plan is not None

    def forward() -> FastForward:
        room = Room(10**9, DiskCache(tmp_path, 10**9))
        shortcuts = Shortcuts(plan, LastToken(), room, lambda cut: key(classifier, plan, cut))
        return FastForward(classifier, splits().by_name(), device, "fp32", shortcuts)

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forward().prepare(interrupt)
    later = forward()
    later.prepare(lambda done, total: None)
    facts = later.kept()
    assert facts is not None
    assert facts.found >= facts.distinct / 2
    assert facts.found + facts.computed == facts.distinct


def test_prefix_with_damaged_files_is_recomputed(tmp_path: Path, device: torch.device) -> None:
    what = setup(device, LastBlocks())
    first = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    for shard in tmp_path.rglob("*.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-20] ^= 1
        shard.chmod(0o600)
        shard.write_bytes(content)
    second = run(what, Room(10**9, DiskCache(tmp_path, 10**9)), keyed=True)
    same(first, second)
    assert kept(second).computed > 0


def test_prefix_with_rows_of_another_computation_is_recomputed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: torch.device
) -> None:
    def careless(classifier: Classifier, plan: FastPlan, cut: int) -> PrefixKey:
        return PrefixKey("0" * 64, {"backbone": "", "cut": "", "positions": ""})

    what = setup(device, LastBlocks())
    other = what._replace(backbone=TinyGPT2(causal=False))
    room = Room(10**9, DiskCache(tmp_path, 10**9))
    train(other, splits(), torch.float64, room, careless)
    with caplog.at_level(logging.WARNING, logger="clsbench"):
        outcome = train(
            what, splits(), torch.float64, Room(10**9, DiskCache(tmp_path, 10**9)), careless
        )
    same(run(what, None), outcome)
    assert "differ from recomputed ones" in caplog.text


def test_prefix_progress_counts_token_positions(device: torch.device) -> None:
    seen: list[tuple[int, int]] = []
    outcome = run(setup(device, LastBlocks()))
    outcome.forward.prepare(lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] == kept(outcome).distinct * WIDTH_TOKENS
