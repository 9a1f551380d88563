"""Classifiers changed by plugins: the fast path gives the same numbers or is disabled."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from altered_classifiers import Change, assert_same, block, both, tried
from tiny_gpt2 import WIDTH_TOKENS, TinyGPT2
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import clsbench
from clsbench.builtin.freezing_strategies import All, Gradual, HeadOnly, LastBlocks
from clsbench.builtin.poolings import LastRealToken, LastToken
from clsbench.errors import ClsbenchError
from clsbench.fastpath.fast_forward import FastForward
from clsbench.fastpath.prefix import PrefixChangedError
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.model.freezing import plan_freezing


def device_of(classifier: Any) -> torch.device:
    device: torch.device = classifier.backbone.tok_emb.weight.device
    return device


def behind(index: int, make: Callable[[], nn.Module]) -> Change:
    """A change that applies a module to the output of a block."""

    def add(classifier: Any) -> None:
        there = block(classifier, index)
        there.extra = make().to(device_of(classifier))
        there.register_forward_hook(lambda module, inputs, out: module.extra(out))

    return add


# --- components that break an assumption of the plan ----------------------------------------------


class Standardises(nn.Module):
    """Uses the statistics of its batch, in training and evaluation."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden - 0.5 * hidden.mean(0, keepdim=True)


class FollowsInPlace(nn.Module):
    """Scales by a moving average in a buffer, updated in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.ones(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        with torch.no_grad():
            self.largest.mul_(0.9).add_(0.1 * hidden.detach().abs().amax())
        return hidden * self.largest


class FollowsByReplacing(FollowsInPlace):
    """Scales by a moving average that is replaced by a new tensor each time."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        with torch.no_grad():
            self.largest = 0.9 * self.largest + 0.1 * hidden.detach().abs().amax()
        return hidden * self.largest


class ByMode(nn.Module):
    """Runs the same operations with other values in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("one", torch.tensor(1.0))
        self.register_buffer("other", torch.tensor(1.2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * (self.one if self.training else self.other)


class SameMemory(nn.Module):
    """Returns all outputs in the same memory."""

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


class DropsByPython(nn.Module):
    """Drops values at random, with its own Python generator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(4)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden * 0.5 if self.training and self.generator.random() < 0.1 else hidden


class DropsByNumPy(nn.Module):
    """Drops values at random, with a NumPy generator in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.generators = [np.random.default_rng(3)]

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and self.generators[0].random() < 0.1
        return hidden * 0.5 if drops else hidden


class DropsWithWeights(nn.Module):
    """Draws random numbers, but not on the meta device."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        drops = self.training and not hidden.is_meta and torch.rand(()).item() < 0.05
        return hidden * 0.5 if drops else hidden


class Later(nn.Module):
    """Rounds after its seventh call in training."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        self.steps += self.training
        return (hidden * 16).round() / 16 if self.steps > 6 else hidden


class Coarse(nn.Linear):
    """Computes with rounded weights if they are frozen."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 48)."""
        weight = self.weight if self.weight.requires_grad else (self.weight * 32).round() / 32
        return nn.functional.linear(hidden, weight, self.bias)


def round_frozen_weights(classifier: Any) -> None:
    for index in range(3):
        block(classifier, index).ff.layers[0].__class__ = Coarse


def hand_over(classifier: Any) -> None:
    """Add a connection from the first block to the third, past the second."""
    kept: dict[str, Tensor] = {}
    block(classifier, 0).register_forward_hook(lambda m, i, out: kept.__setitem__("hidden", out))
    block(classifier, 2).register_forward_pre_hook(lambda m, i: i[0] + 0.3 * kept["hidden"])


def count_tokens(classifier: Any) -> None:
    classifier.backbone.tok_emb.scale_grad_by_freq = True


def pad_with_a_parameter(classifier: Any) -> None:
    """Add a parameter that only padded texts read."""
    backbone = classifier.backbone
    backbone.pad = nn.Parameter(torch.zeros(12, device=device_of(classifier)))

    def pad(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out + backbone.pad if out.dim() == 3 else out

    backbone.tok_emb.register_forward_hook(pad)


def centre_by_the_head(classifier: Any) -> None:
    """Make the first block read a moving average that the head updates."""
    backbone = classifier.backbone
    backbone.register_buffer("centre", torch.zeros(12, device=device_of(classifier)))
    block(classifier, 0).register_forward_hook(lambda module, i, out: out - backbone.centre)

    def follow(module: Any, inputs: Any) -> None:
        if module.training:
            with torch.no_grad():
                mean = inputs[0].reshape(-1, 12).mean(0)
                backbone.centre.data.mul_(0.9999).add_(mean * 0.0001)

    classifier.out_head.register_forward_pre_hook(follow)


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


def centre_many(classifier: Any) -> None:
    """Subtract the batch mean, but only for three texts or more."""
    block(classifier, 0).register_forward_hook(
        lambda m, i, out: out - 0.3 * out.mean(0, keepdim=True) if len(out) >= 3 else out
    )


def open_a_gate_later(classifier: Any) -> None:
    """Add a gate, initially closed, for the mean over a batch."""
    head = classifier.out_head
    head.gate = nn.Parameter(torch.zeros((), device=device_of(classifier)))
    head.register_forward_pre_hook(
        lambda module, inputs: inputs[0] + module.gate * inputs[0].mean(0, keepdim=True)
    )


def halve_by_a_parametrization(classifier: Any) -> None:
    class Halves(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    nn.utils.parametrize.register_parametrization(
        block(classifier, 1).ff.layers[0], "weight", Halves()
    )


class AllThenLast(clsbench.FreezingStrategy):
    """Trains everything in the first epoch, the last block afterwards."""

    def trainable(self, parameters: Any) -> list[str]:
        """The parameters of the first epoch: all."""
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Any, epoch: int) -> list[str]:
        """All parameters at first."""
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
        pytest.param(behind(0, FollowsInPlace), id="a moving average in place"),
        pytest.param(behind(0, FollowsByReplacing), id="a moving average that is replaced"),
        pytest.param(behind(0, ByMode), id="other numbers in training"),
        pytest.param(behind(1, SameMemory), id="one piece of memory"),
        pytest.param(behind(0, DropsByPython), id="a Python generator"),
        pytest.param(behind(0, DropsByNumPy), id="a NumPy generator in a list"),
        pytest.param(behind(0, DropsWithWeights), id="draws that the plan does not find"),
        pytest.param(behind(0, Later), id="a step count"),
        round_frozen_weights,
        hand_over,
        count_tokens,
        pad_with_a_parameter,
        centre_by_the_head,
        average_in_a_parameter,
        initialise_by_the_first_batch,
        shrink_by_a_gradient_hook,
        add_noise_to_gradients,
        centre_many,
        open_a_gate_later,
        halve_by_a_parametrization,
    ],
)
def test_fast_path_with_a_hostile_component_gives_the_plain_numbers(
    change: Change, freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    plain, fast = both(change, freezing, pooling, epochs=3, trial=True)
    assert_same(plain, fast)
    for name, weights in plain.weights.items():
        if not name.endswith("W_key.bias"):  # its gradient is zero but for rounding
            torch.testing.assert_close(fast.weights[name], weights, rtol=0, atol=1e-8)
    for split, logits in plain.logits.items():
        torch.testing.assert_close(fast.logits[split], logits, rtol=1e-9, atol=1e-9)


def test_fast_path_with_a_mean_teacher_gives_the_plain_numbers() -> None:
    """The teacher is frozen; otherwise torch refuses its backward pass."""
    assert_same(*both(follow_as_a_teacher, LastBlocks(), epochs=3, trial=True))


# --- the plan -------------------------------------------------------------------------------------


def test_plan_with_written_weights_names_them() -> None:
    _, fast = both(average_in_a_parameter, LastBlocks())
    assert fast.plan is not None
    reason = "the forward pass writes to the parameter out_head.mean"
    assert [shortcut.detail for shortcut in fast.plan.shortcuts] == [reason] * 3
    _, fast = both(initialise_by_the_first_batch, LastBlocks(), trial=True)
    assert fast.problem == reason


def test_plan_with_changing_state_behind_a_hook_takes_the_plain_path() -> None:
    _, fast = both(behind(2, FollowsInPlace), LastBlocks())
    assert fast.plan is not None
    assert {shortcut.detail for shortcut in fast.plan.shortcuts} == {
        "the classifier changes its state, and backbone.trf_blocks.2 has hooks"
    }


class CountingHead(nn.Module):
    """A head that scales its output after 30 calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, 12) → (B, C)."""
        self.calls += 1
        out: Tensor = self.inner(pooled) * (1.5 if self.calls > 30 else 1)
        return out


def test_plan_with_a_counting_head_keeps_the_prefix_but_joins_no_batches() -> None:
    def count(classifier: Any) -> None:
        classifier.out_head = CountingHead(classifier.out_head)

    plain, fast = both(count, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3
    assert not fast.plan.joins


def test_plan_with_batch_normalisation_ends_the_prefix_before_it() -> None:
    def normalise(classifier: Any) -> None:
        ff = block(classifier, 1).ff
        ff.layers = nn.Sequential(
            ff.layers, nn.Flatten(0, -2), nn.BatchNorm1d(12), nn.Unflatten(0, (-1, WIDTH_TOKENS))
        )

    plain, fast = both(normalise, HeadOnly(), LastToken())
    assert_same(plain, fast)
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 2


def test_plan_with_a_prompt_before_the_text_takes_the_plain_path() -> None:
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
    assert "block.0 does not return one vector per position" in fast.plan.shortcuts[0].detail


def test_plan_with_a_parameter_that_few_texts_read_keeps_no_prefix() -> None:
    """The texts of the plan and the trial need not contain the token."""

    def soften(classifier: Any) -> None:
        embedding = classifier.backbone.tok_emb
        embedding.extra = nn.Parameter(torch.ones(12, device=device_of(classifier)))

        def add(module: Any, inputs: tuple[Tensor], embedded: Tensor) -> Tensor | None:
            if inputs[0].is_meta or not (where := inputs[0] == 5).any():
                return None
            return embedded + where[..., None] * module.extra

        embedding.register_forward_hook(add)

    plain, fast = both(soften, LastBlocks())
    assert_same(plain, fast)
    assert fast.plan is not None
    reason = fast.plan.shortcuts[0].detail
    assert "no stage read the trained parameter backbone.tok_emb.extra" in reason


def test_plan_with_a_weight_that_is_read_without_a_gradient_keeps_no_prefix() -> None:
    """One block is used as the first and, with a gradient, as the last."""

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


def test_plan_with_operations_by_number_of_texts_names_the_stage() -> None:
    def one_by_one(classifier: Any) -> None:
        block(classifier, 0).register_forward_hook(
            lambda m, inputs, out: torch.stack([text * 1.5 for text in out])
        )

    _, fast = both(one_by_one, LastBlocks())
    assert fast.plan is not None
    assert fast.plan.shortcuts[1].detail == (
        "block.0 runs other operations for a different number of texts"
    )


@pytest.fixture
def removed_hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    yield handles
    for handle in handles:
        handle.remove()


def test_plan_with_hooks_on_all_modules_takes_the_plain_path(removed_hooks: list[Any]) -> None:
    removed_hooks.append(nn.modules.module.register_module_forward_hook(lambda *_: None))
    _, fast = both(lambda classifier: None, LastBlocks())
    assert fast.plan is not None
    assert {s.detail for s in fast.plan.shortcuts} == {
        "global module hooks are registered in torch"
    }


# --- the trial ------------------------------------------------------------------------------------


class LooksBack(nn.Module):
    """A causal convolution: each position reads the previous one."""

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


@pytest.mark.parametrize(
    ("freezing", "pooling"), [(LastBlocks(), LastToken()), (All(), LastRealToken())], ids=repr
)
def test_trial_with_a_position_that_reads_others_finds_a_difference(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    _, fast = both(look_back, freezing, pooling)
    problem = tried(fast, freezing)
    assert problem is not None
    assert "differ by" in problem or "failed" in problem


def test_trial_with_a_component_of_fixed_width_fails() -> None:
    def insist(classifier: Any) -> None:
        def check(module: Any, inputs: Any) -> None:
            if inputs[0].dim() != 3 or inputs[0].shape[1] != WIDTH_TOKENS:
                raise ValueError("nine positions, please")

        block(classifier, 2).ff.layers.register_forward_pre_hook(check)

    plain, fast = both(insist, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem == "the trial of the fast path failed: ValueError: nine positions, please"


class SumsOverTheWidth(clsbench.Pooling, frozen=True):
    """Sums without padding, but divides by the padded length."""

    def build(self, hidden_size: int) -> nn.Module:
        """The module."""

        class Module(nn.Module):
            def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
                places = torch.arange(hidden.shape[1], device=lengths.device)
                real = (places < lengths.clamp(min=1)[:, None]).to(hidden.dtype)
                return (hidden * real[..., None]).mean(1)

        return Module()

    def reads_padding(self) -> bool:
        """Wrongly claims that it does not."""
        return False


@pytest.mark.parametrize("batch_size", [1, 3])
def test_trial_with_a_pooling_that_depends_on_the_width_finds_a_difference(
    batch_size: int,
) -> None:
    plain, fast = both(
        lambda classifier: None, All(), SumsOverTheWidth(), trial=True, batch_size=batch_size
    )
    assert_same(plain, fast)
    assert fast.problem is not None
    assert "plain path differ in the trial: logits in training differ" in fast.problem


def test_trial_in_bf16_finds_differences_below_rounding() -> None:
    def standardise(classifier: Any) -> None:
        block(classifier, 2).register_forward_hook(
            lambda module, inputs, out: out - 0.05 * out.mean(0, keepdim=True)
        )

    for change, found in ((standardise, True), (lambda classifier: None, False)):
        _, fast = both(change, LastBlocks(), dtype=torch.float32)
        made = fast.forward
        assert isinstance(made, FastForward)
        half = FastForward(made.classifier, made.splits, made.device, "bf16", made.shortcuts)
        plan = plan_freezing(LastBlocks(), TinyGPT2().describe(), 2, "under test")
        problem = check_equivalence(half, plan, 3)
        assert (problem is not None and "differ" in problem.text) == found


def test_trial_with_a_part_that_cannot_be_copied_takes_the_plain_path() -> None:
    def iterate(classifier: Any) -> None:
        classifier.out_head.numbers = (number for number in range(9))

    _, fast = both(iterate, LastBlocks(), trial=True)
    assert fast.problem is not None
    assert fast.problem.startswith("the trial could not be run: TypeError")


def test_trial_with_a_hook_that_refers_to_the_original_takes_the_plain_path() -> None:
    """Functions are not copied, so the hook of the copy trains the original's parameter."""

    def shift(classifier: Any) -> None:
        head = classifier.out_head
        head.shift = nn.Parameter(torch.zeros(3, device=device_of(classifier)))
        head.register_forward_hook(lambda module, inputs, out: out + head.shift)

    plain, fast = both(shift, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem == (
        "the trial needs a copy of the classifier, but a copy shares out_head.shift with the "
        "original"
    )


def test_trial_that_changes_the_original_raises() -> None:
    """The plan does not find it, since it does not happen on the meta device."""

    def count(classifier: Any) -> None:
        head = classifier.out_head
        head.register_buffer("calls", torch.zeros((), device=device_of(classifier)))

        def hook(module: Any, inputs: Any, out: Tensor) -> None:
            if not out.is_meta:
                head.calls += 1

        head.register_forward_hook(hook)

    with pytest.raises(ClsbenchError, match=r"a buffer or an attribute .* stateful = True"):
        both(count, LastBlocks(), trial=True)


def test_trial_with_a_weight_changed_through_numpy_raises() -> None:
    class Clips(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pooled: Tensor) -> Tensor:
            if not pooled.is_meta:
                values = self.inner.weight.detach().numpy()  # type: ignore[operator,union-attr]
                values[:] = np.roll(values, 1, 1)
            out: Tensor = self.inner(pooled)
            return out

    def clip(classifier: Any) -> None:
        classifier.out_head = Clips(classifier.out_head)

    with pytest.raises(ClsbenchError, match=r"out_head\.inner\.weight was changed while a copy"):
        both(clip, LastBlocks(), trial=True)


# --- state after the trial ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [(LastBlocks(), LastToken()), (All(), LastRealToken()), (Gradual(), LastRealToken())],
    ids=repr,
)
def test_trial_restores_weights_flags_and_generators(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling
) -> None:
    def dropout(classifier: Any) -> None:
        block(classifier, 2).ff.layers.append(nn.Dropout(0.2))

    _, fast = both(dropout, freezing, pooling)
    classifier = fast.forward.classifier
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    required = [p.requires_grad for p in classifier.parameters()]
    state = torch.get_rng_state()
    assert tried(fast, freezing) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], t) for n, t in classifier.state_dict().items())
    assert [p.requires_grad for p in classifier.parameters()] == required
    assert all(p.grad is None for p in classifier.parameters())


class Counts(nn.Module):
    """A head with several kinds of state, such as its number of calls in training."""

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


def test_trial_restores_the_state_of_a_head() -> None:
    def count(classifier: Any) -> None:
        random.seed(6)
        classifier.out_head = Counts(classifier.out_head)

    plain, fast = both(count, LastBlocks(), trial=True)
    assert fast.problem is None
    assert_same(plain, fast)
    assert fast.forward.classifier.out_head.calls == len(fast.losses)


# --- changes during training ----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["buffer", "weight", "attribute"])
def test_run_with_changed_frozen_stages_raises(what: str, removed_hooks: list[Any]) -> None:
    """Like a mean teacher, after each step of the optimizer."""

    def follow(classifier: Any) -> None:
        module = block(classifier, 0)
        module.gain = 1.0
        module.register_buffer("shift", torch.zeros(12, device=device_of(classifier)))
        module.register_forward_hook(lambda m, inputs, out: out * m.gain + m.shift)

        def change(*_: Any) -> None:
            with torch.no_grad():
                if what == "buffer":
                    module.shift += 0.01
                elif what == "weight":
                    module.ff.layers[0].weight.mul_(1.01)
                else:
                    module.gain *= 1.01

        if device_of(classifier).type != "meta":
            for handle in removed_hooks:
                handle.remove()
            removed_hooks.append(register_optimizer_step_post_hook(change))

    with pytest.raises(PrefixChangedError, match=r"no longer valid: .* run with --no-fast prefix"):
        both(follow, LastBlocks(), trial=True)


@pytest.mark.parametrize("undone", [False, True])
def test_run_with_a_changed_frozen_table_names_it(undone: bool, removed_hooks: list[Any]) -> None:
    """One row of a table, which few texts read, changes for good or temporarily."""

    def change(classifier: Any) -> None:
        table, steps = classifier.backbone.tok_emb.weight, itertools.count()

        def write(*_: Any) -> None:
            step = next(steps)
            with torch.no_grad():
                if step == 1:
                    table[7] *= 2
                elif step == 2 and undone:
                    table[7] /= 2

        if not table.is_meta:
            for handle in removed_hooks:
                handle.remove()
            removed_hooks.append(register_optimizer_step_post_hook(write))

    with pytest.raises(
        PrefixChangedError, match=r"tok_emb\.weight, which these stages read, has been"
    ):
        both(change, LastBlocks(), trial=True)


# --- supported changes ----------------------------------------------------------------------------


def store_embeddings_in_bf16(classifier: Any) -> None:
    table = classifier.backbone.tok_emb.weight
    table.data = table.data.to(torch.bfloat16)


class Table(nn.Module):
    """Creates its table with the first text."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        if self.table is None or len(self.table) < hidden.shape[-2]:
            positions = torch.arange(16, device=hidden.device, dtype=hidden.dtype)
            self.table = positions[:, None].sin()
        return hidden + self.table[: hidden.shape[-2]]


class FillsANewTensor(nn.Module):
    """Writes to a new tensor."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        shift = torch.tensor([0.0, 1.0], device=hidden.device, dtype=hidden.dtype)
        shift[0] += 0.5
        return hidden + shift.repeat(6)


class WorksInPlace(nn.Module):
    """Changes its input in place."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, 12) → (B, T, 12)."""
        return hidden + 0.25 if hidden.requires_grad else hidden.add_(0.25)


def gate(classifier: Any) -> None:
    head = classifier.out_head
    head.gate = nn.Parameter(torch.zeros(12, device=device_of(classifier)))
    head.register_forward_pre_hook(lambda module, inputs: inputs[0] * (1 + module.gate))


def gate_up_to_one(classifier: Any) -> None:
    """Add a gate that refuses the perturbed parameters of the trial."""
    head = classifier.out_head
    head.gate = nn.Parameter(torch.ones(12, device=device_of(classifier)))

    def close(module: Any, inputs: Any) -> Tensor:
        if not module.gate.is_meta and bool((module.gate > 1.005).any()):
            raise ValueError("gate out of (0, 1]")
        gated: Tensor = inputs[0] * module.gate
        return gated

    head.register_forward_pre_hook(close)


def drop_in_the_head(classifier: Any) -> None:
    classifier.out_head = nn.Sequential(nn.Dropout(0.5), classifier.out_head)


def scale_what_goes_in(classifier: Any) -> None:
    for each in classifier.backbone.trf_blocks:
        each.register_forward_pre_hook(lambda module, inputs: inputs[0] * 1.1)
        each.att.register_forward_pre_hook(lambda module, inputs: inputs[0] * 0.9)


@pytest.mark.parametrize(
    "change",
    [
        store_embeddings_in_bf16,
        pytest.param(behind(0, Table), id="a table made when it is needed"),
        pytest.param(behind(0, FillsANewTensor), id="a new tensor that is filled"),
        pytest.param(behind(1, WorksInPlace), id="in place"),
        gate,
        gate_up_to_one,
        drop_in_the_head,
        scale_what_goes_in,
    ],
)
def test_prefix_with_a_harmless_component_is_kept(change: Change) -> None:
    plain, fast = both(change, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3


@pytest.mark.parametrize("batch_size", [1, 3])
def test_prefix_with_attention_of_torch_is_kept(batch_size: int) -> None:
    """Torch uses other kernels for a single text."""

    def attend(classifier: Any) -> None:
        device = device_of(classifier)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layer = nn.TransformerEncoderLayer(
                12, 2, 24, 0.0, batch_first=True, device=device, dtype=torch.float64
            )
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        block(classifier, 0).register_forward_hook(lambda m, inputs, out: layer(out))

    plain, fast = both(attend, HeadOnly(), trial=True, batch_size=batch_size)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 6


@pytest.mark.parametrize("index", [0, 2], ids=["frozen", "trained"])
def test_packing_with_a_block_that_expects_three_axes_is_refused(index: int) -> None:
    """Packed, several texts have two axes; a single text has three."""

    def expect_texts(classifier: Any) -> None:
        def unpack(module: Any, inputs: Any, out: Tensor) -> Tensor:
            _, _, features = out.shape
            assert features == 12
            return out

        block(classifier, index).ff.register_forward_hook(unpack)

    plain, fast = both(expect_texts, LastBlocks(), LastRealToken(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is not None
    assert fast.problem.startswith("the trial of the fast path failed: ValueError")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_trial_of_batch_normalisation_makes_no_smaller_batch_than_training(
    batch_size: int,
) -> None:
    def normalise(classifier: Any) -> None:
        classifier.out_head = nn.Sequential(nn.BatchNorm1d(12), classifier.out_head)

    if batch_size == 1:
        with pytest.raises(ValueError, match="more than 1 value"):
            both(normalise, LastBlocks(), batch_size=1, trial=True)
        return
    plain, fast = both(normalise, LastBlocks(), batch_size=batch_size, trial=True)
    assert fast.problem is None
    # The bias before the normalisation has no effect, so only rounding errors change it.
    assert fast.losses == pytest.approx(plain.losses, rel=1e-6)
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut > 1
