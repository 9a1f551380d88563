"""What plugins may well do, and what the fast path must not change: found by the plan, or tried."""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from altered_classifiers import CHANGES, Change, assert_same, block, both, tried
from fast_and_plain import Outcome
from tiny_gpt2 import WIDTH_TOKENS, TinyGPT2
from torch import Tensor, nn

import clsbench
from clsbench.builtin.freezing_strategies import All, Gradual, HeadOnly, LastBlocks
from clsbench.builtin.poolings import LastRealToken, LastToken
from clsbench.fastpath.forward import Forward
from clsbench.fastpath.safety.trial import what_differs
from clsbench.model.freezing import plan_freezing

# --- what the plan finds --------------------------------------------------------------------------


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


# --- what neither plan nor trial lets through -----------------------------------------------------


def behind(index: int, make: Callable[[], nn.Module]) -> Change:
    """A change: the module works on what a block gives."""

    def add(classifier: Any) -> None:
        there = block(classifier, index)
        there.extra = make().to(classifier.backbone.tok_emb.weight.device)
        there.register_forward_hook(lambda module, inputs, out: module.extra(out))

    return add


class Standardises(nn.Module):
    """By the statistics of its batch, while training and afterwards."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden - 0.5 * hidden.mean(0, keepdim=True)


class Quantises(nn.Module):
    """By a range that it follows with a moving average."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        with torch.no_grad():
            self.largest.mul_(0.9).add_(0.1 * hidden.detach().abs().amax())
        return hidden * self.largest


class ByMode(nn.Module):
    """The same steps with other numbers while training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.tensor(1.0))
        self.register_buffer("other", torch.tensor(1.2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * (self.one if self.training else self.other)


class SameMemory(nn.Module):
    """Gives everything in one and the same piece of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[object, Tensor] = {}

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        if hidden.requires_grad:
            return hidden
        kind = (hidden.shape[1:], hidden.device)
        if len(self.memory.get(kind, ())) < len(hidden):
            self.memory[kind] = torch.empty_like(hidden)
        return self.memory[kind][: len(hidden)].copy_(hidden)


class DropsByItself(nn.Module):
    """Now and then, by a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(4)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * 0.5 if self.training and self.generator.random() < 0.1 else hidden


def hand_over(classifier: Any) -> None:
    """A connection from the first block to the third, past the second."""
    kept: dict[str, Tensor] = {}
    block(classifier, 0).register_forward_hook(lambda m, i, out: kept.__setitem__("hidden", out))
    block(classifier, 2).register_forward_pre_hook(lambda m, i: i[0] + 0.3 * kept["hidden"])


def count_tokens(classifier: Any) -> None:
    classifier.backbone.tok_emb.scale_grad_by_freq = True


def pad_with_something_learned(classifier: Any) -> None:
    """Which only texts with padding ever read."""
    backbone = classifier.backbone
    backbone.pad = nn.Parameter(torch.zeros(12, device=backbone.tok_emb.weight.device))

    def pad(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out + backbone.pad if out.dim() == 3 else out

    backbone.tok_emb.register_forward_hook(pad)


class AllThenLast(clsbench.FreezingStrategy):
    """Everything in the first epoch, the last block afterwards."""

    def trainable(self, parameters: Any) -> list[str]:
        """All."""
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Any, epoch: int) -> list[str]:
        """All at first."""
        return [p.name for p in parameters if not epoch or p.stage == "block.2"]


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [
        (LastBlocks(), LastToken()),
        pytest.param(All(), LastRealToken(), marks=pytest.mark.slow),
        pytest.param(AllThenLast(), LastToken(), marks=pytest.mark.slow),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(behind(0, Standardises), id="batch statistics below the cut"),
        pytest.param(behind(2, Standardises), id="batch statistics above the cut"),
        pytest.param(behind(0, Quantises), id="a moving average"),
        pytest.param(behind(0, ByMode), id="other numbers while training"),
        pytest.param(behind(1, SameMemory), id="one piece of memory"),
        pytest.param(behind(0, DropsByItself), id="a generator of its own"),
        hand_over,
        count_tokens,
        pad_with_something_learned,
    ],
)
def test_what_is_hostile_changes_nothing(
    change: Change, freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    assert_nothing_differs(*both(change, freezing, pooling, epochs=3, trial=True))


def test_a_weight_that_is_read_without_a_gradient_is_trained_all_the_same() -> None:
    """One block serves as the first and, with a gradient, as the last."""

    def share(classifier: Any) -> None:
        blocks = classifier.backbone.trf_blocks
        last = blocks[2]

        class Detached(nn.Module):
            def forward(self, hidden: Tensor, **context: Any) -> Tensor:
                out: Tensor = hidden + (last(hidden, **context) - hidden).detach()
                return out

        blocks[0] = Detached()

    plain, fast = both(share, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.plan is not None
    assert not any(epoch.cut for epoch in fast.plan.epochs)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_trial_makes_no_batch_that_training_does_not(batch_size: int) -> None:
    """Batch normalisation refuses a single text."""

    def normalise(classifier: Any) -> None:
        classifier.out_head = nn.Sequential(nn.BatchNorm1d(12), classifier.out_head)

    if batch_size == 1:
        with pytest.raises(ValueError, match="more than 1 value"):
            both(normalise, LastBlocks(), batch_size=1, trial=True)
        return
    plain, fast = both(normalise, LastBlocks(), batch_size=batch_size, trial=True)
    assert fast.problem is None
    # What comes before the normalisation has a bias without effect, so that rounding moves it.
    assert fast.losses == pytest.approx(plain.losses, rel=1e-6)
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut > 1


def test_a_frozen_table_in_another_precision_is_read_as_it_is() -> None:
    def shrink(classifier: Any) -> None:
        table = classifier.backbone.tok_emb.weight
        table.data = table.data.to(torch.bfloat16)

    plain, fast = both(shrink, LastBlocks(), trial=True)
    assert fast.problem is None
    assert_same(plain, fast)


class Counts(nn.Module):
    """State of many kinds: a head that scales by how often it was called while training."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0
        self.generator = torch.Generator().manual_seed(3)
        self.register_buffer("table", None)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, 12) → (B, C)."""
        if self.table is None:
            self.table = torch.linspace(1, 2, 12, dtype=pooled.dtype, device=pooled.device)
        if self.training and not pooled.is_meta:
            self.calls += 1
            drop = torch.rand(pooled.shape, generator=self.generator, dtype=torch.float64)
            pooled = pooled * (drop > 0.1) * (1 + 0.1 * self.calls) * (0.5 + random.random())
        out: Tensor = self.inner(pooled * self.table)
        return out


def test_a_trial_leaves_no_state_behind() -> None:
    def count(classifier: Any) -> None:
        random.seed(6)
        classifier.out_head = Counts(classifier.out_head)

    plain, fast = both(count, LastBlocks(), trial=True)
    assert fast.problem is None
    assert_same(plain, fast)
    assert fast.forward.classifier.out_head.calls == len(fast.losses)


# --- state, and generators, wherever they are held ------------------------------------------------


class Later(nn.Module):
    """Rounds, once it has been called often enough while training."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        self.steps += self.training
        return (hidden * 16).round() / 16 if self.steps > 6 else hidden


def drop_by_closure(classifier: Any) -> None:
    generator = random.Random(3)

    def drop(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out * 0.5 if module.training and generator.random() < 0.1 else out

    block(classifier, 0).register_forward_hook(drop)


class DropsByList(nn.Module):
    """By a generator of NumPy's, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = [np.random.default_rng(3)]

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and self.generators[0].random() < 0.1
        return hidden * 0.5 if drops else hidden


class DropsUnseen(nn.Module):
    """Draws where there are weights only."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and not hidden.is_meta and torch.rand(()).item() < 0.05
        return hidden * 0.5 if drops else hidden


def centre(classifier: Any, where: nn.Module, eager: bool) -> None:
    """By a mean that another part follows slowly."""
    backbone = classifier.backbone
    backbone.register_buffer("centre", torch.zeros(12, device=backbone.tok_emb.weight.device))
    block(classifier, 0).register_forward_hook(lambda module, i, out: out - backbone.centre)

    def follow(module: Any, inputs: Any) -> None:
        if eager or module.training:
            with torch.no_grad():
                mean = inputs[0].reshape(-1, 12).mean(0)
                backbone.centre.data.mul_(0.9999).add_(mean * 0.0001)

    where.register_forward_pre_hook(follow)


def centre_by_the_head(classifier: Any) -> None:
    centre(classifier, classifier.out_head, False)


def centre_by_a_block(classifier: Any) -> None:
    centre(classifier, block(classifier, 2), False)


def centre_in_evaluation_too(classifier: Any) -> None:
    centre(classifier, classifier.out_head, True)


def average_in_a_parameter(classifier: Any) -> None:
    head = classifier.out_head
    head.mean = nn.Parameter(torch.zeros(12, device=head.weight.device), requires_grad=False)

    def follow(module: Any, inputs: Any) -> Tensor:
        if module.training:
            module.mean.data.mul_(0.9).add_(0.1 * inputs[0].detach().mean(0))
        return inputs[0] - module.mean.detach()

    head.register_forward_pre_hook(follow)


def follow_as_a_teacher(classifier: Any) -> None:
    teacher, student = block(classifier, 0).ff, block(classifier, 2).ff

    def follow(*_: Any) -> None:
        with torch.no_grad():
            for one, other in zip(teacher.parameters(), student.parameters(), strict=True):
                one.lerp_(other, 0.01)

    block(classifier, 2).register_forward_hook(follow)


def initialise_by_the_first_batch(classifier: Any) -> None:
    head = classifier.out_head
    head.mean = nn.Parameter(torch.zeros(12, device=head.weight.device))
    head.done = False

    def initialise(module: Any, inputs: Any) -> Tensor:
        if module.training and not module.done and not inputs[0].is_meta:
            module.mean.data.copy_(-inputs[0].detach().mean(0))
            module.done = True
        return inputs[0] + module.mean

    head.register_forward_pre_hook(initialise)


def shrink_by_a_gradient_hook(classifier: Any) -> None:
    shrunk, trained = (block(classifier, index).ff.layers[0].weight for index in (0, 2))

    def shrink(parameter: Tensor) -> None:
        shrunk.data.mul_(0.999)

    trained.register_post_accumulate_grad_hook(shrink)


def add_noise_to_gradients(classifier: Any) -> None:
    for parameter in classifier.parameters():
        if not parameter.is_meta:
            parameter.register_hook(lambda g: g + g.abs().mean() * torch.randn_like(g))


def count_in_the_backward_pass(classifier: Any) -> None:
    counts = {"steps": 0}

    def count(*_: Any) -> None:
        counts["steps"] += 1

    classifier.out_head.register_full_backward_hook(count)
    block(classifier, 0).register_forward_hook(lambda m, i, o: o * (1 + 0.01 * counts["steps"]))


def count_calls_in_the_head(classifier: Any) -> None:
    head = classifier.out_head
    head.calls = 0

    def count(module: Any, inputs: Any, out: Tensor) -> Tensor:
        module.calls += 1
        return out * (1.5 if module.calls > 30 else 1)

    head.register_forward_hook(count)


class Coarse(nn.Linear):
    """Computes with rounded weights where they are frozen."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 48)."""
        weight = self.weight if self.weight.requires_grad else (self.weight * 32).round() / 32
        return nn.functional.linear(hidden, weight, self.bias)


def round_what_is_frozen(classifier: Any) -> None:
    for index in range(3):
        block(classifier, index).ff.layers[0].__class__ = Coarse


def never_choose_the_last_class(classifier: Any) -> None:
    def forbid(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return torch.cat([out, torch.full_like(out[:, :1], -math.inf)], 1)

    classifier.out_head.register_forward_hook(forbid)
    behind(0, Standardises)(classifier)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(behind(0, Later), id="a change that comes later"),
        pytest.param(behind(0, DropsByList), id="a generator in a list"),
        pytest.param(behind(0, DropsUnseen), id="a generator that planning does not see"),
        drop_by_closure,
        centre_by_the_head,
        centre_by_a_block,
        centre_in_evaluation_too,
        average_in_a_parameter,
        follow_as_a_teacher,
        initialise_by_the_first_batch,
        shrink_by_a_gradient_hook,
        add_noise_to_gradients,
        count_in_the_backward_pass,
        count_calls_in_the_head,
        round_what_is_frozen,
        never_choose_the_last_class,
    ],
)
def test_state_of_any_kind_changes_nothing(change: Change) -> None:
    assert_nothing_differs(*both(change, LastBlocks(), epochs=4, trial=True))


def assert_nothing_differs(plain: Outcome, fast: Outcome) -> None:
    assert_same(plain, fast)
    for name, weights in plain.weights.items():
        if not name.endswith("W_key.bias"):  # its gradient is zero but for rounding
            torch.testing.assert_close(fast.weights[name], weights, rtol=0, atol=1e-8)
    for split, logits in plain.logits.items():
        torch.testing.assert_close(fast.logits[split], logits, rtol=1e-9, atol=1e-9)


def test_a_head_that_counts_its_calls_leaves_the_prefix_alone() -> None:
    plain, fast = both(count_calls_in_the_head, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3
    assert not fast.plan.joins


def test_weights_that_are_written_are_named() -> None:
    _, fast = both(average_in_a_parameter, LastBlocks())
    assert fast.plan is not None
    reason = "out_head.mean is written to while the classifier computes"
    assert [shortcut.detail for shortcut in fast.plan.shortcuts] == [reason] * 3
    _, fast = both(initialise_by_the_first_batch, LastBlocks(), trial=True)
    assert fast.problem == reason


# --- how wide a batch is --------------------------------------------------------------------------


class SumsOverTheWidth(clsbench.Pooling, frozen=True):
    """Leaves padding out and divides by it all the same."""

    def build(self, hidden_size: int) -> nn.Module:
        """The module."""

        class Module(nn.Module):
            def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
                places = torch.arange(hidden.shape[1], device=lengths.device)
                real = (places < lengths.clamp(min=1)[:, None]).to(hidden.dtype)
                return (hidden * real[..., None]).mean(1)

        return Module()

    def reads_padding(self) -> bool:
        """It says so."""
        return False


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("freezing", [All(), LastBlocks()], ids=repr)
def test_a_pooling_that_depends_on_the_width_is_found_by_trying(
    freezing: clsbench.FreezingStrategy, batch_size: int
) -> None:
    plain, fast = both(
        lambda classifier: None, freezing, SumsOverTheWidth(), trial=True, batch_size=batch_size
    )
    assert_same(plain, fast)
    assert fast.problem is not None
    assert "gave something else than the plain one: logits in training differ" in fast.problem


def test_what_bf16_would_hide_is_found_without_it() -> None:
    def standardise(classifier: Any) -> None:
        block(classifier, 2).register_forward_hook(
            lambda module, inputs, out: out - 0.05 * out.mean(0, keepdim=True)
        )

    for change, found in ((standardise, True), (lambda classifier: None, False)):
        _, fast = both(change, LastBlocks(), dtype=torch.float32)
        made, shortcuts = fast.forward, fast.forward.shortcuts
        half = Forward(made.classifier, made.splits, made.device, "bf16", shortcuts)
        plan = plan_freezing(LastBlocks(), TinyGPT2().describe(), 2, "under test")
        problem = what_differs(half, plan, 3)
        assert (problem is not None and "differ" in problem.text) == found


# --- what is no reason to refuse ------------------------------------------------------------------


def keep_the_stages(classifier: Any) -> None:
    backbone = classifier.backbone
    stages: Sequence[clsbench.Stage] = list(backbone.stages())
    backbone.kept = stages
    backbone.stages = lambda: backbone.kept


def hold_a_module_of_python(classifier: Any) -> None:
    import math

    block(classifier, 2).register_forward_hook(lambda module, i, out: out * math.sqrt(2))


def hold_what_cannot_be_copied(classifier: Any) -> None:
    lock, file, logger = threading.Lock(), open(__file__), logging.getLogger("a")  # noqa: SIM115

    def use(module: Any, inputs: Any, out: Tensor) -> Tensor:
        with lock:
            logger.debug("%s", file.name)
            return out

    file.close()
    block(classifier, 2).register_forward_hook(use)
    block(classifier, 2).lock = lock


def make_a_table_when_it_is_needed(classifier: Any) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table: Tensor | None = None

        def forward(self, hidden: Tensor) -> Tensor:
            if self.table is None or len(self.table) < hidden.shape[-2]:
                positions = torch.arange(16, device=hidden.device, dtype=hidden.dtype)
                self.table = positions[:, None].sin()
            return hidden + self.table[: hidden.shape[-2]]

    behind(0, Table)(classifier)


@pytest.mark.parametrize(
    "change",
    [
        keep_the_stages,
        hold_a_module_of_python,
        hold_what_cannot_be_copied,
        make_a_table_when_it_is_needed,
    ],
)
def test_what_does_no_harm_is_not_refused(change: Change) -> None:
    plain, fast = both(change, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3


def test_what_cannot_be_tried_is_said_to_be_that() -> None:
    def iterate(classifier: Any) -> None:
        classifier.out_head.numbers = (number for number in range(9))

    _, fast = both(iterate, LastBlocks(), trial=True)
    assert fast.problem is not None
    assert fast.problem.startswith("it could not be tried on a few texts: TypeError")
