"""What cannot be seen at the first weights, or with few texts, or goes past torch's operations."""

from __future__ import annotations

import contextvars
import dataclasses
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from altered_classifiers import assert_same, block, both, tried
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import clsbench
from clsbench.builtin.freezing_strategies import All, HeadOnly, LastBlocks
from clsbench.builtin.poolings import LastRealToken, LastToken
from clsbench.errors import ClsbenchError
from clsbench.fastpath.prefix import PrefixChangedError

STRATEGIES = pytest.mark.parametrize("freezing", [LastBlocks(), HeadOnly(), All()], ids=repr)


def device_of(classifier: Any) -> torch.device:
    device: torch.device = classifier.backbone.tok_emb.weight.device
    return device


# --- what rests at first --------------------------------------------------------------------------


@STRATEGIES
def test_a_gate_that_is_shut_at_first_is_opened_to_be_tried(
    freezing: clsbench.FreezingStrategy,
) -> None:
    """It will let the mean over all texts of a batch through, once it has been trained."""

    def couple(classifier: Any) -> None:
        head = classifier.out_head
        head.gate = nn.Parameter(torch.zeros((), device=device_of(classifier)))
        head.register_forward_pre_hook(
            lambda module, inputs: inputs[0] + module.gate * inputs[0].mean(0, keepdim=True)
        )

    plain, fast = both(couple, freezing, trial=True)
    assert_same(plain, fast)
    assert fast.problem is not None
    assert "differ" in fast.problem


def test_what_trains_by_some_texts_alone_forbids_to_keep_what_reads_it() -> None:
    """Neither the plan nor a trial need have a text among them that has the token."""

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
    prefix = fast.plan.shortcuts[0]
    assert not prefix.taken
    assert "no stage is seen to read backbone.tok_emb.extra" in prefix.detail


@pytest.mark.parametrize("index", [0, 2], ids=["frozen", "trained"])
def test_a_block_that_cannot_be_packed_is_found_wherever_it_stands(index: int) -> None:
    """A single text has all its axes in a packed prefix, too; several have not."""

    def expect_texts(classifier: Any) -> None:
        def unpack(module: Any, inputs: Any, out: Tensor) -> Tensor:
            _, _, features = out.shape
            assert features == 12
            return out

        block(classifier, index).ff.register_forward_hook(unpack)

    plain, fast = both(expect_texts, LastBlocks(), LastRealToken(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is not None
    assert fast.problem.startswith("tried on a few texts, it fails: ValueError")


def test_parametrised_layers_are_served() -> None:
    """Their class is torch's own, made for each, and holds names of tensors."""

    class Halves(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    def halve(classifier: Any) -> None:
        nn.utils.parametrize.register_parametrization(
            block(classifier, 1).ff.layers[0], "weight", Halves()
        )

    plain, fast = both(halve, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None


def test_an_activation_that_belongs_to_a_class_made_here_is_served() -> None:
    class Activated(nn.Module):
        activation = nn.Tanh()

        def forward(self, hidden: Tensor) -> Tensor:
            result: Tensor = self.activation(hidden)
            return result

    def activate(classifier: Any) -> None:
        module = Activated()
        block(classifier, 0).ff.register_forward_hook(lambda _, inputs, out: module(out))

    plain, fast = both(activate, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.shortcuts[0].taken


def test_a_number_cut_out_of_a_table_can_be_held() -> None:
    """It counts as contiguous, whatever its stride."""

    def cut_out(classifier: Any) -> None:
        number = torch.arange(8.0, device=device_of(classifier))[:5:4][:1]
        block(classifier, 0).register_buffer("number", number)

    plain, fast = both(cut_out, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None


def test_a_gate_that_does_no_harm_is_none_to_refuse() -> None:
    def scale(classifier: Any) -> None:
        head = classifier.out_head
        head.gate = nn.Parameter(torch.zeros(12, device=device_of(classifier)))
        head.register_forward_pre_hook(lambda module, inputs: inputs[0] * (1 + module.gate))

    before: list[Tensor] = []
    plain, fast = both(scale, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    before = [p.detach().clone() for p in fast.forward.classifier.parameters()]
    assert tried(fast, LastBlocks()) is None
    for one, other in zip(before, fast.forward.classifier.parameters(), strict=True):
        assert torch.equal(one, other), "the classifier itself is not moved"


def test_what_a_zero_among_other_weights_hides_is_seen() -> None:
    """Each text itself, and none of the mean over all: as it is at first."""

    def mix(classifier: Any) -> None:
        head = classifier.out_head
        head.mix = nn.Parameter(torch.tensor([1.0, 0.0], device=device_of(classifier)))
        head.register_forward_pre_hook(
            lambda module, inputs: (
                module.mix[0] * inputs[0] + module.mix[1] * inputs[0].mean(0, keepdim=True)
            )
        )

    plain, fast = both(mix, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is not None
    assert "differ" in fast.problem


def of_small_positive_numbers(classifier: Any) -> None:
    head = classifier.out_head
    head.rate = nn.Parameter(torch.full((12,), 1e-3, device=device_of(classifier)))
    head.register_forward_pre_hook(lambda m, inputs: inputs[0] + m.rate.log() * m.rate.sqrt())


def of_numbers_up_to_one(classifier: Any) -> None:
    head = classifier.out_head
    head.gate = nn.Parameter(torch.ones(12, device=device_of(classifier)))

    def close(module: Any, inputs: Any) -> Tensor:
        if not module.gate.is_meta and bool((module.gate > 1.005).any()):
            raise ValueError("gate out of (0, 1]")
        gated: Tensor = inputs[0] * module.gate
        return gated

    head.register_forward_pre_hook(close)


@pytest.mark.parametrize("change", [of_small_positive_numbers, of_numbers_up_to_one])
def test_what_can_be_computed_of_certain_numbers_alone_is_served(
    change: Callable[[Any], None],
) -> None:
    plain, fast = both(change, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3


# --- how many texts there are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freezing", "pooling"), [(LastBlocks(), LastToken()), (All(), LastRealToken())], ids=repr
)
@pytest.mark.parametrize("where", ["block", "head"])
def test_what_is_done_with_many_texts_alone_is_seen(
    freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling, where: str
) -> None:
    def centre(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out - 0.3 * out.mean(0, keepdim=True) if len(out) >= 3 else out

    def change(classifier: Any) -> None:
        module = block(classifier, 0) if where == "block" else classifier.out_head
        module.register_forward_hook(centre)

    assert_same(*both(change, freezing, pooling, trial=True))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_attention_of_torch_is_served(batch_size: int) -> None:
    """For one text its kernels are others."""

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


def test_what_counts_texts_is_told() -> None:
    def one_by_one(classifier: Any) -> None:
        block(classifier, 0).register_forward_hook(
            lambda m, inputs, out: torch.stack([text * 1.5 for text in out])
        )

    plain, fast = both(one_by_one, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.plan is not None
    assert fast.plan.shortcuts[1].detail == (
        "block.0 does something else for another number of texts"
    )


# --- state that nothing tells of ------------------------------------------------------------------


def count_by_iterator(classifier: Any) -> Callable[[], int]:
    steps = itertools.count()
    return lambda: next(steps)


def count_in_bytes(classifier: Any) -> Callable[[], int]:
    steps = bytearray(1)

    def count() -> int:
        steps[0] += 1
        return steps[0]

    return count


def count_past_torch(classifier: Any) -> Callable[[], int]:
    steps = torch.zeros(1)

    def count() -> int:
        steps.numpy()[0] += 1
        return int(steps)

    return count


def count_in_a_context(classifier: Any) -> Callable[[], int]:
    steps: contextvars.ContextVar[int] = contextvars.ContextVar("steps", default=0)

    def count() -> int:
        steps.set(steps.get() + 1)
        return steps.get()

    return count


def count_in_a_view(classifier: Any) -> Callable[[], int]:
    steps = memoryview(bytearray(1))

    def count() -> int:
        steps[0] += 1
        return steps[0]

    return count


def count_by_list(classifier: Any) -> Callable[[], int]:
    steps = iter(range(10_000))
    return lambda: next(steps)


@pytest.mark.parametrize(
    "counting",
    [
        count_by_iterator,
        count_in_bytes,
        count_past_torch,
        count_in_a_context,
        count_in_a_view,
        count_by_list,
    ],
)
def test_a_step_count_is_seen_however_it_is_held(
    counting: Callable[[Any], Callable[[], int]],
) -> None:
    """Coarse after a warm-up, longer than any trial."""

    def coarsen(classifier: Any) -> None:
        count = counting(classifier)

        def hook(module: Any, inputs: Any, out: Tensor) -> Tensor:
            if not module.training or out.is_meta:
                return out
            return (out * 16).round() / 16 if count() > 12 else out

        block(classifier, 0).register_forward_hook(hook)

    plain, fast = both(coarsen, LastBlocks(), trial=True, epochs=8)
    assert fast.problem is not None
    assert "changes something, or draws" in fast.problem
    # No copy of a classifier has its own of these.
    if counting not in (count_in_a_context, count_in_a_view):
        assert_same(plain, fast)


# --- what something else changes while training ---------------------------------------------------


@pytest.fixture
def removed_hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    yield handles
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("what", ["buffer", "weight", "attribute"])
def test_frozen_stages_that_something_else_changes_end_the_run(
    what: str, removed_hooks: list[Any]
) -> None:
    """As a mean teacher does, behind each of the optimiser's steps."""

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

    with pytest.raises(PrefixChangedError, match=r"no longer holds: .* run with --no-fast prefix"):
        both(follow, LastBlocks(), trial=True)


@pytest.mark.parametrize("undone", [False, True])
def test_a_frozen_weight_that_was_written_to_ends_the_run_and_is_named(
    undone: bool, removed_hooks: list[Any]
) -> None:
    """In one row of a table, which few texts read, or for a while."""

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

    with pytest.raises(PrefixChangedError, match=r"tok_emb\.weight, which they read, was written"):
        both(change, LastBlocks(), trial=True)


def test_hooks_of_all_modules_forbid_every_shortcut(removed_hooks: list[Any]) -> None:
    removed_hooks.append(nn.modules.module.register_module_forward_hook(lambda *_: None))
    _, fast = both(lambda classifier: None, LastBlocks(), trial=True)
    assert fast.plan is not None
    assert {s.detail for s in fast.plan.shortcuts} == {
        "torch has hooks on the forward pass of every module"
    }


@pytest.mark.parametrize("kind", ["clipped", "in another order"])
def test_a_weight_that_is_written_past_torch_ends_the_run_and_is_named(kind: str) -> None:
    """It is changed then: no other path would begin where the user's run began."""

    class Clips(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pooled: Tensor) -> Tensor:
            if not pooled.is_meta:
                values = self.inner.weight.detach().numpy()  # type: ignore[operator,union-attr]
                if kind == "clipped":
                    np.clip(values, -0.1, 0.1, out=values)
                else:
                    values[:] = np.roll(values, 1, 1)
            out: Tensor = self.inner(pooled)
            return out

    def clip(classifier: Any) -> None:
        classifier.out_head = Clips(classifier.out_head)

    with pytest.raises(ClsbenchError, match=r"out_head\.inner\.weight was changed while a few"):
        both(clip, LastBlocks(), trial=True)


# --- what is no reason to refuse ------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Slotted:
    factor: float = 2.0


def hold_slots(classifier: Any) -> None:
    settings = Slotted()
    block(classifier, 2).register_forward_hook(lambda m, i, out: out * settings.factor)


def hold_nothing_that_is_a_number(classifier: Any) -> None:
    block(classifier, 2).worst = float("nan")


def note_device_and_shape(classifier: Any) -> None:
    def note(module: Any, inputs: Any, out: Tensor) -> None:
        module.device, module.places = out.device, range(3)
        module.largest = np.float64(1.0)

    for index in range(3):
        block(classifier, index).register_forward_hook(note)


def drop_by_rates(classifier: Any) -> None:
    """A draw whose rates are a tensor, in the head, which is not kept."""
    head = classifier.out_head
    head.register_buffer("rates", torch.full((12,), 0.5, device=device_of(classifier)))

    def drop(module: Any, inputs: Any) -> Any:
        if not module.training:
            return None
        return inputs[0] * torch.empty_like(inputs[0]).bernoulli_(module.rates.expand_as(inputs[0]))

    head.register_forward_pre_hook(drop)


def hold_the_systems_generator(classifier: Any) -> None:
    classifier.out_head.generator = random.SystemRandom()


@pytest.mark.parametrize(
    "change",
    [hold_slots, hold_nothing_that_is_a_number, note_device_and_shape, drop_by_rates],
)
def test_what_is_harmless_is_served(change: Callable[[Any], None]) -> None:
    plain, fast = both(change, LastBlocks(), trial=True)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3


def test_what_nobody_can_foresee_is_no_error() -> None:
    plain, fast = both(hold_the_systems_generator, LastBlocks(), trial=True)
    assert_same(plain, fast)


def test_what_is_held_by_thread_is_left_alone() -> None:
    local = threading.local()
    local.calls = 0

    def count(module: Any, inputs: Any, out: Tensor) -> Tensor:
        if not out.is_meta:
            local.calls += 1
        return out * (1 + 0.01 * local.calls)

    def change(classifier: Any) -> None:
        local.calls = 0
        block(classifier, 2).register_forward_hook(lambda *a: count(*a))

    _, fast = both(change, LastBlocks(), trial=True)
    assert fast.problem is not None
