"""The fast path gives the results of the plain path, for miniatures of all of the catalog."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from components_of_the_catalog import entries, make
from fast_and_plain import IN_FLOAT32, Outcome, Setup, random_splits, run_both, train
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

import clsbench
from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.builtin.poolings import LastRealToken
from clsbench.fastpath.kept_rows import Room
from clsbench.schema.training import TrainSettings
from clsbench.testing.miniature import MiniatureBackbone

BACKBONES = {
    "gpt2": TinyGPT2(),
    "gpt2-not-causal": TinyGPT2(causal=False),
    "miniature": MiniatureBackbone(),
    "miniature-not-causal": MiniatureBackbone(causal=False),
}


def fits(strategy: clsbench.FreezingStrategy) -> bool:
    """Whether the strategy accepts a backbone of three blocks."""
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
    """Compare in float64; in float32, rounding alone moves weights whose gradient is zero."""
    compare(plain, fast, losses=1e-9)
    for name, weight in plain.weights.items():
        if not name.endswith("W_key.bias"):
            torch.testing.assert_close(fast.weights[name], weight, rtol=0, atol=1e-8, msg=name)


COMBINATIONS = [  # the property test below combines the other backbones with adapters
    *itertools.product(BACKBONES.values(), POOLINGS, [None]),
    *itertools.product([BACKBONES["gpt2"]], POOLINGS, ADAPTERS[1:]),
]


def of_strategy(freezing: clsbench.FreezingStrategy) -> list[tuple[Any, Any, Any]]:
    """Two combinations for each strategy."""
    return COMBINATIONS[FREEZING.index(freezing) :: len(FREEZING)][:2]


def compare_in_float64(
    freezing: clsbench.FreezingStrategy,
    combinations: Sequence[tuple[Any, Any, Any]],
    device: torch.device,
) -> None:
    """Three epochs; the lengths hold equal, empty and full texts."""
    splits = random_splits(3, [9, 4, 1, 0, 9, 5, 5, 7], WIDTH_TOKENS, VOCABULARY)
    training = TrainSettings(epochs=3, batch_size=3, eval_every=2, eval_batches=2)
    for backbone, pooling, adapter in combinations:
        setup = Setup(backbone, pooling, HEADS[0], freezing, adapter, training, device=device)
        compare_exactly(*run_both(setup, splits, torch.float64))


@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_fast_path_each_combination_with_one_strategy_equals_plain(
    freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    compare_in_float64(freezing, of_strategy(freezing), device)


@pytest.mark.slow
@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_fast_path_each_combination_with_other_strategies_equals_plain(
    freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    """A third of the rest; the strategies share out all combinations."""
    others = [each for each in COMBINATIONS if each not in of_strategy(freezing)]
    compare_in_float64(freezing, others[FREEZING.index(freezing) % 3 :: 3], device)


@settings(max_examples=4)
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
def test_fast_path_any_texts_in_any_batches_equal_plain(
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
    device: torch.device,
) -> None:
    training = TrainSettings(
        epochs=3,
        batch_size=min(batch_size, len(lengths)),
        accumulation=accumulation,
        eval_every=1,
        eval_batches=2,
    )
    setup = Setup(BACKBONES[backbone], pooling, head, freezing, adapter, training, padded, device)
    splits = random_splits(seed, lengths, WIDTH_TOKENS, VOCABULARY, padded)
    compare_exactly(*run_both(setup, splits, torch.float64))


RECIPES = [
    *({"optimizer": optimizer} for optimizer in components("optimizers")),
    *({"loss": loss} for loss in components("losses") if "single-label" in loss.tasks),
    {"factors": (0.5, 1.0, 0.25, 0.0, 2.0, 1.0, 0.5, 1.0, 0.1)},
]
"""Training recipes that differ from the default in one part."""


@pytest.mark.parametrize("parts", RECIPES, ids=repr)
def test_fast_path_each_optimizer_loss_and_schedule_equals_plain(
    parts: dict[str, Any], device: torch.device
) -> None:
    splits = random_splits(3, [9, 4, 1, 0, 9, 5, 5, 7], WIDTH_TOKENS, VOCABULARY)
    training = TrainSettings(epochs=3, batch_size=3, lr=0.01, eval_every=2, eval_batches=2)
    freezing = LastBlocks(n=1)
    setup = Setup(TinyGPT2(), POOLINGS[0], HEADS[0], freezing, None, training, device=device)
    compare_exactly(*run_both(setup._replace(parts=parts), splits, torch.float64))


class AnyParameters(clsbench.FreezingStrategy):
    """Trains in each epoch the parameters whose bit is set in a random number."""

    bits: tuple[int, ...]

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """The parameters of the first epoch."""
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> list[str]:
        """The parameters of ``epoch``."""
        return [p.name for n, p in enumerate(parameters) if self.bits[epoch] >> n & 1]


def few_parameters(draw: st.DrawFn) -> int:
    """Bits for a few parameters, more often late than early ones."""
    count = len(TinyGPT2().describe())
    chosen = draw(st.lists(st.integers(0, count - 1), max_size=3))
    return sum({1 << (count - 1 - n * n // count) for n in chosen})


@settings(max_examples=4)
@given(data=st.data())
def test_fast_path_any_parameters_by_epoch_in_any_memory_equal_plain(
    data: st.DataObject, device: torch.device
) -> None:
    """Parameters are frozen, trained and frozen again; memory holds all or part of the cache."""
    epochs = data.draw(st.integers(1, 4))
    bits = tuple(data.draw(st.composite(few_parameters)()) for _ in range(epochs))
    pooling = data.draw(st.sampled_from(POOLINGS))
    settings_ = TrainSettings(epochs=epochs, batch_size=2, eval_every=2, eval_batches=1)
    freezing = AnyParameters(bits=bits)
    setup = Setup(TinyGPT2(), pooling, HEADS[0], freezing, None, settings_, device=device)
    splits = random_splits(3, [9, 4, 1, 0, 9, 5, 5], WIDTH_TOKENS, VOCABULARY)
    room = Room(memory_bytes=data.draw(st.sampled_from([0, 1000, 5000, 2**30])), disk=None)
    plain = train(setup, splits, torch.float64, None)
    compare_exactly(plain, train(setup, splits, torch.float64, room))


# --- float32 --------------------------------------------------------------------------------------

FIFTY_STEPS = TrainSettings(epochs=5, batch_size=2, eval_every=25, eval_batches=1)
CASES_IN_FLOAT32 = list(
    itertools.product(
        [TinyGPT2(blocks=2), TinyGPT2(causal=False, blocks=2)], POOLINGS, [None, ADAPTERS[-1]]
    )
)


def compare_in_float32(
    backbone: clsbench.Backbone,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling,
    adapter: clsbench.Adapter | None,
    device: torch.device,
) -> None:
    """With an adapter, every text has several tokens: see the test of zero gradients below."""
    few = [1, 0] if adapter is None else [6, 2]
    lengths = [9, 4, *few, 9, 5, 5, 7, 3, 8] * 2
    splits = random_splits(5, lengths, WIDTH_TOKENS, VOCABULARY)
    setup = Setup(backbone, pooling, HEADS[0], freezing, adapter, FIFTY_STEPS, device=device)
    plain, fast = run_both(setup, splits, torch.float32)
    assert len(plain.losses) == 50
    compare(plain, fast, losses=IN_FLOAT32[device.type])


@pytest.mark.slow
@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_fast_path_float32_over_50_steps_equals_plain(
    freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    """Every pooling, causal or not, with and without an adapter, each with one strategy."""
    for backbone, pooling, adapter in CASES_IN_FLOAT32[FREEZING.index(freezing) :: len(FREEZING)]:
        compare_in_float32(backbone, freezing, pooling, adapter, device)


@pytest.mark.slow
@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_fast_path_float32_over_50_steps_with_others_equals_plain(
    freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    """A quarter of the rest; the strategies share out all cases."""
    first = FREEZING.index(freezing)
    others = [c for n, c in enumerate(CASES_IN_FLOAT32) if n % len(FREEZING) != first]
    for backbone, pooling, adapter in others[first % 4 :: 4]:
        compare_in_float32(backbone, freezing, pooling, adapter, device)


def test_fast_path_float32_with_zero_gradients_is_as_close_to_float64_as_plain() -> None:
    """A text of one token attends only to itself, so its queries and keys have zero gradient. On
    the plain path and some processors, padding adds rounding noise, which AdamW turns into steps.
    """
    splits = random_splits(5, [9, 4, 1, 0, 9, 5, 5, 7, 3, 8], WIDTH_TOKENS, VOCABULARY)
    setup = Setup(TinyGPT2(), LastRealToken(), HEADS[0], FREEZING[0], ADAPTERS[-1], FIFTY_STEPS)
    plain, fast = run_both(setup, splits, torch.float32)
    truth = train(setup, splits, torch.float64, None)
    of_plain, of_fast = (
        max(abs(found / true - 1) for found, true in zip(each.losses, truth.losses, strict=True))
        for each in (plain, fast)
    )
    assert of_fast < max(of_plain, 1e-6)


# --- bfloat16 -------------------------------------------------------------------------------------

IN_BFLOAT16 = 1e-2
"""Relative tolerance of losses; bfloat16 rounds to 2⁻⁹, at each of a dozen operations in a row."""


@pytest.mark.parametrize("freezing", FREEZING, ids=repr)
def test_fast_path_bf16_is_as_close_to_float32_as_plain(
    freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    """Each strategy with another pooling; kept activations are rounded once more."""
    pooling = POOLINGS[FREEZING.index(freezing) % len(POOLINGS)]
    splits = random_splits(5, [9, 4, 6, 2, 9, 5, 5, 7, 3, 8], WIDTH_TOKENS, VOCABULARY)
    training = TrainSettings(epochs=2, batch_size=2, eval_every=5, eval_batches=1)
    setup = Setup(TinyGPT2(), pooling, HEADS[0], freezing, None, training, device=device)
    truth = train(setup, splits, torch.float32, None)
    rounded = setup._replace(precision="bf16")
    for outcome in run_both(rounded, splits, torch.float32, trial=True):
        assert outcome.problem is None
        assert outcome.losses == pytest.approx(truth.losses, rel=IN_BFLOAT16)
        assert outcome.losses != truth.losses
