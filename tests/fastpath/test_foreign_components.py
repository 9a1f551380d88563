"""What plugins may well do, and what the fast path must not change: found by the plan, or tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import clsbench
from clsbench.builtin.freezing_strategies import All, Gradual, HeadOnly, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import LastRealToken, LastToken
from clsbench.fastpath.trial import what_differs
from clsbench.model.freezing import plan_freezing
from clsbench.spec import TrainSettings
from fast_and_plain import Outcome, Setup, random_splits, run_both
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2

LENGTHS = [9, 4, 1, 9, 5, 5, 7, 3, 8]

Change = Callable[[Any], object]


class Alters(clsbench.Adapter):
    """Does what a test says."""

    def apply(self, classifier: nn.Module) -> None:
        """Alter it."""
        CHANGES[-1](classifier)


CHANGES: list[Change] = []


def both(
    change: Change,
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling | None = None,
    epochs: int = 2,
) -> tuple[Outcome, Outcome]:
    settings = TrainSettings(epochs=epochs, batch_size=3, eval_every=2, eval_batches=2)
    setup = Setup(TinyGPT2(), pooling or LastToken(), Linear(), freezing, Alters(), settings)
    CHANGES.append(change)
    try:
        return run_both(setup, random_splits(1, LENGTHS, WIDTH_TOKENS, VOCABULARY), torch.float64)
    finally:
        CHANGES.pop()


def assert_same(plain: Outcome, fast: Outcome) -> None:
    assert fast.losses == pytest.approx(plain.losses, rel=1e-9)
    assert fast.evaluations == pytest.approx(plain.evaluations, rel=1e-9)


def tried(outcome: Outcome, freezing: clsbench.FreezingStrategy) -> str | None:
    plan = plan_freezing(freezing, TinyGPT2().describe(), 2, "under test")
    return what_differs(outcome.forward, plan, 3)


# --- what the plan finds --------------------------------------------------------------------------


def block(classifier: Any, index: int) -> Any:
    return classifier.backbone.trf_blocks[index]


def test_a_hook_that_scales_what_goes_into_a_block_leaves_the_packing_alone() -> None:
    def scale(classifier: Any) -> None:
        for each in classifier.backbone.trf_blocks:
            each.register_forward_pre_hook(lambda module, inputs: inputs[0] * 1.1)
            each.att.register_forward_pre_hook(lambda module, inputs: inputs[0] * 0.9)

    plain, fast = both(scale, All(), LastRealToken())
    assert_same(plain, fast)
    assert fast.plan is not None
    assert fast.plan.packed


class Normalises(nn.Module):
    """Batch normalisation of every feature over texts and positions, behind a block."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.norm = nn.BatchNorm1d(12)

    def forward(self, hidden: Tensor, **context: Any) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        out: Tensor = self.norm(self.inner(hidden, **context).flatten(0, -2)).view(hidden.shape)
        return out


@pytest.mark.parametrize("pooling", [LastToken(), LastRealToken()], ids=repr)
def test_what_depends_on_its_batch_while_training_is_not_kept(pooling: clsbench.Pooling) -> None:
    def normalise(classifier: Any) -> None:
        classifier.backbone.trf_blocks[1] = Normalises(block(classifier, 1))

    plain, fast = both(normalise, HeadOnly(), pooling)
    assert_same(plain, fast)
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 2


class OnlyLongTexts(nn.Module):
    """Adds something trained where a text has more than four positions."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.extra = nn.Linear(12, 12)

    def forward(self, hidden: Tensor, **context: Any) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        out: Tensor = self.inner(hidden, **context)
        return out + self.extra(out) if hidden.shape[-2] > 4 else out


def test_what_is_trained_in_long_texts_alone_is_seen() -> None:
    def lengthen(classifier: Any) -> None:
        classifier.backbone.trf_blocks[0] = OnlyLongTexts(block(classifier, 0))

    plain, fast = both(lengthen, LastBlocks())
    assert_same(plain, fast)
    assert not any(epoch.cut for epoch in fast.plan.epochs) if fast.plan else False


def test_a_projection_whose_forward_is_replaced_is_called() -> None:
    def double(classifier: Any) -> None:
        value = block(classifier, 2).att.W_value
        plain_forward = value.forward
        value.forward = lambda hidden: 2 * plain_forward(hidden)

    assert_same(*both(double, LastBlocks()))


def test_a_hook_on_gradients_is_heeded() -> None:
    def halve(classifier: Any) -> None:
        for module in (block(classifier, 2).att.W_key, block(classifier, 2)):
            module.register_full_backward_hook(lambda m, into, out: tuple(0.5 * g for g in into))

    assert_same(*both(halve, LastBlocks(n=2)))


def test_a_prompt_before_the_text_forbids_every_shortcut() -> None:
    class Prompted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.prompt = nn.Parameter(torch.ones(1, 2, 12))

        def forward(self, hidden: Tensor, **context: Any) -> Tensor:
            prompt = self.prompt.expand(len(hidden), -1, -1)
            out: Tensor = self.inner(torch.cat([prompt, hidden], dim=1), **context)
            return out

    def prompt(classifier: Any) -> None:
        classifier.backbone.trf_blocks[0] = Prompted(block(classifier, 0))

    plain, fast = both(prompt, LastBlocks())
    assert_same(plain, fast)
    assert fast.plan is not None
    assert "block.0 does not give one vector for each position" in fast.plan.shortcuts[0].detail


def test_a_block_that_works_in_place_leaves_what_is_kept_alone() -> None:
    class InPlace(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: Tensor, **context: Any) -> Tensor:
            if not hidden.requires_grad:
                hidden += 0.25
                return self.inner(hidden, **context)
            return self.inner(hidden + 0.25, **context)

    def in_place(classifier: Any) -> None:
        for index in range(3):
            classifier.backbone.trf_blocks[index] = InPlace(block(classifier, index))

    assert_same(*both(in_place, Gradual(), epochs=4))


class DropsPaths(nn.Module):
    """Stochastic depth: leaves a text out of the block now and then."""

    def __init__(self, inner: nn.Module, rate: float, by_hand: bool) -> None:
        super().__init__()
        self.inner = inner
        self.rate = rate
        self.by_hand = by_hand

    def forward(self, hidden: Tensor, **context: Any) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        out: Tensor = self.inner(hidden, **context)
        if not self.training:
            return out
        if self.by_hand:
            return hidden if random.random() < self.rate else out
        kept = torch.empty_like(hidden[..., :1]).bernoulli_(1 - self.rate)
        return hidden + kept * (out - hidden)


@pytest.mark.parametrize("by_hand", [False, True])
def test_stochastic_depth_whose_rate_rises_from_nothing(by_hand: bool) -> None:
    """The first block draws, too, though it never drops."""

    def drop(classifier: Any) -> None:
        for index, rate in enumerate((0.0, 0.3, 0.6)):
            dropping = DropsPaths(block(classifier, index), rate, by_hand)
            classifier.backbone.trf_blocks[index] = dropping

    random.seed(5)
    state = random.getstate()

    def seeded(classifier: Any) -> None:
        random.setstate(state)
        drop(classifier)

    plain, fast = both(seeded, HeadOnly())
    assert fast.plan is not None
    assert not any(epoch.cut for epoch in fast.plan.epochs)
    if not by_hand:  # planning itself draws from Python's generator
        assert_same(plain, fast)


# --- what only trying finds -----------------------------------------------------------------------


class LooksBack(nn.Module):
    """A causal convolution: each position takes something of the one before."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        before = nn.functional.pad(hidden, (0, 0, 1, 0))[..., :-1, :]
        out: Tensor = self.inner(hidden + 0.5 * before)
        return out


def look_back(classifier: Any) -> None:
    ff = block(classifier, 2).ff
    ff.layers = LooksBack(ff.layers)


@pytest.mark.parametrize("freezing", [LastBlocks(), All(), HeadOnly()], ids=repr)
@pytest.mark.parametrize("pooling", [LastToken(), LastRealToken()], ids=repr)
def test_a_position_that_looks_at_others_where_none_should_is_found_by_trying(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    _, fast = both(look_back, freezing, pooling)
    assert fast.plan is not None
    assert any(shortcut.taken for shortcut in fast.plan.shortcuts)
    problem = tried(fast, freezing)
    assert problem is not None
    assert "differ by" in problem or "it fails" in problem


def test_a_component_that_cannot_do_with_fewer_positions_is_found_by_trying() -> None:
    def insist(classifier: Any) -> None:
        def check(module: Any, inputs: Any) -> None:
            if inputs[0].dim() != 3 or inputs[0].shape[1] != WIDTH_TOKENS:
                raise ValueError("nine positions, please")

        block(classifier, 2).ff.layers.register_forward_pre_hook(check)

    CHANGES.append(insist)
    try:
        with pytest.raises(ValueError, match="nine positions"):
            both(insist, LastBlocks())
    finally:
        CHANGES.pop()


@pytest.mark.parametrize("pooling", [LastToken(), LastRealToken()], ids=repr)
@pytest.mark.parametrize("freezing", [LastBlocks(), All(), HeadOnly(), Gradual()], ids=repr)
def test_trying_finds_nothing_where_there_is_nothing_and_leaves_no_trace(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    def dropout(classifier: Any) -> None:
        block(classifier, 2).ff.layers.append(nn.Dropout(0.2))
        block(classifier, 2).ff.layers.append(nn.Identity())

    for change in (lambda classifier: None, dropout):
        _, fast = both(change, freezing, pooling)
        classifier = fast.forward.classifier
        before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
        required = [p.requires_grad for p in classifier.parameters()]
        state = torch.get_rng_state()
        assert tried(fast, freezing) is None
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(before[n], t) for n, t in classifier.state_dict().items())
        assert [p.requires_grad for p in classifier.parameters()] == required
        assert all(p.grad is None for p in classifier.parameters())
