"""Parameter counts of the book's rows, and the expected memory, without any weights."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import clsbench
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.freezing_strategies import All, HeadOnly, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.lora import LoRA
from clsbench.builtin.poolings import LastToken
from clsbench.model.counts import ClassifierOutline, count_parameters, expected_memory_bytes
from clsbench.model.counts import outline_classifier as outline_modules
from clsbench.model.freezing import plan_freezing


def outline(adapter: clsbench.Adapter | None = None) -> ClassifierOutline:
    backbone = GPT2(weights="random")
    with torch.device("meta"):
        head: nn.Module = Linear().build(768, 2)
        pooling: nn.Module = LastToken().build(768)
    return outline_modules(backbone.skeleton(), pooling, head, adapter, backbone.describe())


@pytest.mark.parametrize(
    ("strategy", "trainable"),
    [
        (HeadOnly(), 1_538),
        (HeadOnly(final_norm=True), 3_074),
        (LastBlocks(), 7_090_946),
        (LastBlocks(n=2), 14_178_818),
        (All(), 124_441_346),
    ],
    ids=str,
)
def test_count_parameters_of_gpt2_small_equal_the_books(
    strategy: clsbench.FreezingStrategy, trainable: int
) -> None:
    plan = plan_freezing(strategy, GPT2(weights="random").describe(), 2, "under test")
    counts = count_parameters(outline(), plan)
    assert counts.trainable == trainable
    assert counts.total == 124_441_346
    assert counts.trainable_by_epoch == (trainable, trainable)
    assert sum(stage.total for stage in counts.stages) == counts.total


def test_count_parameters_with_lora_adds_an_adapter_stage() -> None:
    plan = plan_freezing(HeadOnly(), GPT2(weights="random").describe(), 1, "under test")
    counts = count_parameters(outline(LoRA(r=16, alpha=16)), plan)
    stages = {stage.stage: stage for stage in counts.stages}
    assert stages["adapter"].total == stages["adapter"].trainable == 2_666_528
    assert [stage.stage for stage in counts.stages][-3:] == ["final_norm", "adapter", "head"]
    assert counts.trainable == 2_666_528 + 1_538


def test_expected_memory_grows_with_trained_parameters() -> None:
    parameters = GPT2(weights="random").describe()
    plans = [plan_freezing(s, parameters, 1, "t") for s in (HeadOnly(), LastBlocks(), All())]
    head, block, everything = (
        expected_memory_bytes(outline(), plan, 8, 120, "fp32", state_size=2) for plan in plans
    )
    weights = 4 * 124_441_346
    hidden = 4 * 8 * 120 * 768
    assert head < block < everything
    # With a frozen backbone, autograd keeps only the head's input, a view of the hidden states.
    head_only = 4 * 3 * 1_538
    assert weights + head_only < head <= weights + head_only + hidden + 1024
    # Training all: gradients, AdamW's two moments, and the activations of 12 blocks, of which the
    # MLP's two wide ones are eight times the hidden states.
    assert everything > 4 * weights + 12 * 8 * hidden


@pytest.mark.parametrize("strategy", [LastBlocks(), All()], ids=str)
def test_expected_memory_equals_that_by_torchs_own_kernels(
    strategy: clsbench.FreezingStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_freezing(strategy, GPT2(weights="random").describe(), 1, "under test")

    def expected() -> int:
        adapted = outline(LoRA(r=16, alpha=16))
        return expected_memory_bytes(adapted, plan, 8, 120, "fp32", state_size=2)

    found = expected()
    monkeypatch.setattr("clsbench.model.counts.MetaResults", nullcontext)
    assert found == expected()
