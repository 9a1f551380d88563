"""Plans for components that break an assumption: what is switched off, and the reason."""

from __future__ import annotations

from typing import Any

import torch
from altered_classifiers import assert_same, block, both
from tiny_gpt2 import WIDTH_TOKENS
from torch import Tensor, nn
from trial_components import (
    FollowsInPlace,
    average_in_a_parameter,
    behind,
    device_of,
    initialise_by_the_first_batch,
)

from clsbench.builtin.freezing_strategies import HeadOnly, LastBlocks
from clsbench.builtin.poolings import LastToken


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


def test_plan_with_hooks_on_all_modules_takes_the_plain_path(removed_hooks: list[Any]) -> None:
    removed_hooks.append(nn.modules.module.register_module_forward_hook(lambda *_: None))
    _, fast = both(lambda classifier: None, LastBlocks())
    assert fast.plan is not None
    assert {s.detail for s in fast.plan.shortcuts} == {
        "global module hooks are registered in torch"
    }
