"""The fast path gives the results of the plain one: for everything in the catalog, in miniature."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clsbench
from clsbench.spec import TrainSettings
from clsbench.testing.miniature import MiniatureBackbone
from components_of_the_catalog import entries, make
from fast_and_plain import Outcome, Setup, random_splits, run_both
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

BACKBONES = {
    "gpt2": TinyGPT2(),
    "gpt2-not-causal": TinyGPT2(causal=False),
    "miniature": MiniatureBackbone(),
    "miniature-not-causal": MiniatureBackbone(causal=False),
}


def fits(strategy: clsbench.FreezingStrategy) -> bool:
    """Whether the strategy does not refuse a backbone of three blocks."""
    try:
        list(strategy.trainable(TinyGPT2().describe()))
    except clsbench.UsageError:
        return False
    return True


def components(axis: str) -> list[Any]:
    return [make(*parameters.values) for parameters in entries(axis)]


FREEZING = [strategy for strategy in components("freezing_strategies") if fits(strategy)]
POOLINGS = components("poolings")
HEADS = components("heads")
ADAPTERS = [None, *components("adapters")]


def compare(plain: Outcome, fast: Outcome, losses: float) -> None:
    assert fast.losses == pytest.approx(plain.losses, rel=losses)
    assert fast.evaluations == pytest.approx(plain.evaluations, rel=losses)
    for name, logits in plain.logits.items():
        assert torch.equal(fast.logits[name].argmax(dim=-1), logits.argmax(dim=-1))


def compare_exactly(plain: Outcome, fast: Outcome) -> None:
    """In float64; in float32 rounding alone moves weights whose gradient is truly zero."""
    compare(plain, fast, losses=1e-9)
    for name, weight in plain.weights.items():
        if not name.endswith("W_key.bias"):
            torch.testing.assert_close(fast.weights[name], weight, rtol=0, atol=1e-8, msg=name)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_every_strategy_with_every_pooling_and_adapter(
    freezing: clsbench.FreezingStrategy, backbone: str
) -> None:
    """Three epochs in float64; the lengths hold equal, empty and full texts."""
    splits = random_splits(3, [9, 4, 1, 0, 9, 5, 5, 7], WIDTH_TOKENS, VOCABULARY)
    training = TrainSettings(epochs=3, batch_size=3, eval_every=2, eval_batches=2)
    choices: list[Any] = [(pooling, None) for pooling in POOLINGS]
    if backbone == "gpt2":  # the others meet adapters in the property below
        choices += [(pooling, adapter) for pooling in POOLINGS[:2] for adapter in ADAPTERS[1:]]
    for pooling, adapter in choices:
        setup = Setup(BACKBONES[backbone], pooling, HEADS[0], freezing, adapter, training)
        compare_exactly(*run_both(setup, splits, torch.float64))


@settings(max_examples=40, deadline=None)
@given(
    backbone=st.sampled_from(sorted(BACKBONES)),
    freezing=st.sampled_from(FREEZING),
    pooling=st.sampled_from(POOLINGS),
    head=st.sampled_from(HEADS),
    adapter=st.sampled_from(ADAPTERS),
    lengths=st.lists(st.integers(0, WIDTH_TOKENS), min_size=2, max_size=9),
    batch_size=st.integers(1, 4),
    padded=st.booleans(),
    accumulation=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_any_texts_in_any_batches(
    backbone: str,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling,
    head: clsbench.Head,
    adapter: clsbench.Adapter | None,
    lengths: list[int],
    batch_size: int,
    padded: bool,
    accumulation: int,
    seed: int,
) -> None:
    training = TrainSettings(
        epochs=3,
        batch_size=min(batch_size, len(lengths)),
        accumulation=accumulation,
        eval_every=1,
        eval_batches=2,
    )
    setup = Setup(BACKBONES[backbone], pooling, head, freezing, adapter, training, padded)
    splits = random_splits(seed, lengths, WIDTH_TOKENS, VOCABULARY, padded)
    compare_exactly(*run_both(setup, splits, torch.float64))


@pytest.mark.parametrize("pooling", POOLINGS[:4], ids=repr)
@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_float32_over_50_steps(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    splits = random_splits(5, [9, 4, 1, 0, 9, 5, 5, 7, 3, 8], WIDTH_TOKENS, VOCABULARY)
    training = TrainSettings(epochs=10, batch_size=2, eval_every=10, eval_batches=2)
    setup = Setup(BACKBONES["gpt2"], pooling, HEADS[0], freezing, None, training)
    compare(*run_both(setup, splits, torch.float32), losses=1e-5)
