"""The trial: fast against plain, on a copy."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from altered_classifiers import Change, assert_same, block, both, tried
from failing_devices import device_assert
from tiny_gpt2 import WIDTH_TOKENS, TinyGPT2
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from trial_components import (
    device_of,
)

import clsbench
from clsbench.builtin.freezing_strategies import All, Gradual, LastBlocks
from clsbench.builtin.poolings import LastRealToken, LastToken
from clsbench.errors import ClsbenchError
from clsbench.fastpath.fast_forward import FastForward
from clsbench.fastpath.prefix import PrefixChangedError
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.model.freezing import plan_freezing


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
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling, device: torch.device
) -> None:
    _, fast = both(look_back, freezing, pooling, device=device)
    problem = tried(fast, freezing)
    assert problem is not None
    assert "differ by" in problem or "failed" in problem


def test_trial_with_a_component_of_fixed_width_fails(device: torch.device) -> None:
    def insist(classifier: Any) -> None:
        def check(module: Any, inputs: Any) -> None:
            if inputs[0].dim() != 3 or inputs[0].shape[1] != WIDTH_TOKENS:
                raise ValueError("nine positions, please")

        block(classifier, 2).ff.layers.register_forward_pre_hook(check)

    plain, fast = both(insist, LastBlocks(), trial=True, device=device)
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
    batch_size: int, device: torch.device
) -> None:
    plain, fast = both(
        lambda classifier: None,
        All(),
        SumsOverTheWidth(),
        trial=True,
        batch_size=batch_size,
        device=device,
    )
    assert_same(plain, fast)
    assert fast.problem is not None
    assert "plain path differ in the trial: logits in training differ" in fast.problem


def test_trial_in_bf16_finds_differences_below_rounding(device: torch.device) -> None:
    def standardise(classifier: Any) -> None:
        block(classifier, 2).register_forward_hook(
            lambda module, inputs, out: out - 0.05 * out.mean(0, keepdim=True)
        )

    for change, found in ((standardise, True), (lambda classifier: None, False)):
        _, fast = both(change, LastBlocks(), dtype=torch.float32, device=device)
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


def failing_in(batch: int, fail: Callable[[], object], calls: list[int]) -> Change:
    """A head that fails in a training batch of the trial: all of them have two texts."""

    def hook(module: Any, inputs: Any, out: Tensor) -> None:
        if module.training and len(out) == 2 and not out.is_meta:
            calls.append(len(calls) + 1)
            if calls[-1] == batch:
                fail()

    return lambda classifier: classifier.out_head.register_forward_hook(hook)


@pytest.mark.parametrize("batch", [1, 2, 3], ids=["probe", "plain path", "fast path"])
def test_trial_out_of_memory_takes_the_plain_path_for_that_reason(
    batch: int, device: torch.device
) -> None:
    """The allocation is real; no machine has so much memory."""
    calls: list[int] = []
    change = failing_in(batch, lambda: torch.empty(10**15, device=device), calls)
    _, fast = both(change, LastBlocks(), trial=True, device=device)
    assert fast.problem is not None
    assert fast.problem.startswith("the trial ran out of memory, so nothing was compared: ")
    assert len(calls) == batch, "it is not repeated without perturbed parameters"


def test_trial_on_a_failing_device_raises_its_error() -> None:
    """The error is torch's own; the device is simulated."""
    change = failing_in(2, device_assert, [])
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        both(change, LastBlocks(), trial=True)


def test_trial_with_a_hook_that_refers_to_the_original_takes_the_plain_path(
    device: torch.device,
) -> None:
    """Functions are not copied, so the hook of the copy trains the original's parameter."""

    def shift(classifier: Any) -> None:
        head = classifier.out_head
        head.shift = nn.Parameter(torch.zeros(3, device=device_of(classifier)))
        head.register_forward_hook(lambda module, inputs, out: out + head.shift)

    plain, fast = both(shift, LastBlocks(), trial=True, device=device)
    assert_same(plain, fast)
    assert fast.problem == (
        "the trial needs a copy of the classifier, but a copy shares out_head.shift with the "
        "original"
    )


def test_trial_that_changes_the_original_raises(device: torch.device) -> None:
    """The plan does not find it, since it does not happen on the meta device."""

    def count(classifier: Any) -> None:
        head = classifier.out_head
        head.register_buffer("calls", torch.zeros((), device=device_of(classifier)))

        def hook(module: Any, inputs: Any, out: Tensor) -> None:
            if not out.is_meta:
                head.calls += 1

        head.register_forward_hook(hook)

    with pytest.raises(ClsbenchError, match=r"a buffer or an attribute .* stateful = True"):
        both(count, LastBlocks(), trial=True, device=device)


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


@pytest.mark.parametrize(
    ("freezing", "pooling"),
    [(LastBlocks(), LastToken()), (All(), LastRealToken()), (Gradual(), LastRealToken())],
    ids=repr,
)
def test_trial_restores_weights_flags_and_generators(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling, device: torch.device
) -> None:
    def dropout(classifier: Any) -> None:
        block(classifier, 2).ff.layers.append(nn.Dropout(0.2))

    _, fast = both(dropout, freezing, pooling, device=device)
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


@pytest.mark.parametrize("what", ["buffer", "weight", "attribute"])
def test_run_with_changed_frozen_stages_raises(
    what: str, removed_hooks: list[Any], device: torch.device
) -> None:
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
        both(follow, LastBlocks(), trial=True, device=device)


@pytest.mark.parametrize("undone", [False, True])
def test_run_with_a_changed_frozen_table_names_it(
    undone: bool, removed_hooks: list[Any], device: torch.device
) -> None:
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
        both(change, LastBlocks(), trial=True, device=device)
