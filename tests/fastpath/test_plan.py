"""The plan of the fast path: where the prefix ends, and why shortcuts are disabled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_gpt2 import TinyGPT2
from torch import Tensor, nn

import clsbench
from clsbench.builtin.freezing_strategies import All, Gradual, HeadOnly, LastBlocks
from clsbench.builtin.lora import LoRA
from clsbench.builtin.poolings import Attention, FirstToken, LastRealToken, LastToken, Mean
from clsbench.fastpath.plan import Batching, EpochCut, FastPlan, in_room, plan_fast_path
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import plan_freezing

PADDED = Batching(padded=True, batch_size=8, positions=9)
STAGES = ("embeddings", "block.0", "block.1", "block.2", "final_norm", "pooling")


def plan(
    freezing: clsbench.FreezingStrategy,
    pooling: clsbench.Pooling | None = None,
    causal: bool = True,
    epochs: int = 1,
    batching: Batching = PADDED,
    adapter: clsbench.Adapter | None = None,
    outline: Classifier | None = None,
    forbidden: Sequence[str] = (),
) -> FastPlan:
    backbone = TinyGPT2(causal=causal)
    pooling = pooling or LastToken()
    if outline is None:
        with clsbench.without_weights():
            outline = Classifier(
                backbone.skeleton(), pooling.build(backbone.hidden_size()), nn.Linear(12, 2)
            )
            if adapter is not None:
                adapter.apply(outline)
    what = plan_freezing(freezing, backbone.describe(), epochs, "under test")
    return plan_fast_path(outline, pooling, what, batching, dict.fromkeys(forbidden, "unwanted"))


def reason(found: FastPlan, name: str) -> str:
    (shortcut,) = [s for s in found.shortcuts if s.name == name]
    assert not shortcut.taken
    return shortcut.detail


@pytest.mark.parametrize(
    ("freezing", "cut"),
    [
        (LastBlocks(n=1), 3),
        (LastBlocks(n=2), 2),
        (HeadOnly(), 6),
        (HeadOnly(final_norm=True), 4),
        (All(), 0),
    ],
    ids=repr,
)
def test_plan_with_trained_layers_ends_the_prefix_at_the_first(
    freezing: clsbench.FreezingStrategy, cut: int
) -> None:
    found = plan(freezing)
    assert found.stages == STAGES
    assert found.epochs == (EpochCut(cut, -1),)
    if cut == 0:
        assert reason(found, "prefix") == "the first stage (embeddings) is trained"


def test_plan_with_a_trained_pooling_ends_the_prefix_before_it() -> None:
    assert plan(HeadOnly(), Attention()).epochs == (EpochCut(5, -1),)
    assert plan(HeadOnly(), Mean()).epochs == (EpochCut(6, -1),)


def test_plan_with_only_embeddings_frozen_has_no_prefix() -> None:
    found = plan(HeadOnly(), adapter=LoRA())
    assert found.epochs == (EpochCut(0, -1),)
    assert reason(found, "prefix") == (
        "block.0 is trained, at least in part; the stages before it (embeddings) only look up "
        "values, so caching would not be faster"
    )


@pytest.mark.parametrize(
    ("room", "said"),
    [
        ((10**9, 8 * 10**9), "(at most 5 kB; limits: 1 GB in memory, 8 GB on disk)"),
        ((0, 5000), "(at most 5 kB; limits: none in memory, 5 kB on disk)"),
        (
            (3000, 1000),
            "(at most 5 kB; limits: 3 kB in memory, 1 kB on disk; the rest is computed every time)",
        ),
    ],
)
def test_in_room_with_enough_space_adds_sizes_to_the_detail(
    room: tuple[int, int], said: str
) -> None:
    found = in_room(plan(LastBlocks()), most_bytes=5000, least_bytes=100, room=room)
    (prefix,) = [shortcut for shortcut in found.shortcuts if shortcut.name == "prefix"]
    assert prefix.taken
    assert found.epochs == (EpochCut(3, -1),)
    assert prefix.detail.startswith("frozen stages (embeddings to block.1) are computed once")
    assert prefix.detail.endswith(said)


@pytest.mark.parametrize("room", [(0, 0), (99, 20)])
def test_in_room_without_space_disables_the_prefix(room: tuple[int, int]) -> None:
    found = in_room(plan(Gradual(), epochs=3), most_bytes=5000, least_bytes=100, room=room)
    assert "the activations do not fit" in reason(found, "prefix")
    assert found.epochs == (EpochCut(0, -1),) * 3
    assert found.single == 3
    none = plan(All())
    assert in_room(none, 0, 0, room) == none


def test_plan_with_a_moving_cut_lists_stages_by_epoch() -> None:
    (prefix,) = [s for s in plan(Gradual(), epochs=2).shortcuts if s.name == "prefix"]
    stages = "by epoch: embeddings to pooling, then embeddings to block.1"
    assert prefix.detail.startswith(f"frozen stages ({stages}) ")


def test_plan_with_a_cut_that_moves_down_invalidates_nothing() -> None:
    found = plan(Gradual(), epochs=4)
    assert [epoch.since for epoch in found.epochs] == [-1] * 4
    cuts = [epoch.cut for epoch in found.epochs]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] == 6


def test_plan_with_a_refrozen_stage_invalidates_its_activations() -> None:
    class FirstThenLast(clsbench.FreezingStrategy, frozen=True):
        """Trains the first block, then the last, then only the head."""

        def trainable(self, parameters):  # type: ignore[no-untyped-def]
            return self.trainable_at(parameters, 0) | self.trainable_at(parameters, 1)

        def trainable_at(self, parameters, epoch):  # type: ignore[no-untyped-def]
            stage = {0: "block.0", 1: "block.2"}.get(epoch)
            return {p.name for p in parameters if p.stage == stage}

    found = plan(FirstThenLast(), epochs=3)
    assert found.epochs == (EpochCut(0, -1), EpochCut(3, 0), EpochCut(6, 1))


def test_plan_position_depends_on_the_pooling() -> None:
    assert plan(All()).single == 3
    assert reason(plan(All(), Mean()), "position") == "the pooling reads more than one position"
    assert plan(All(), forbidden=["position"]).single is None


@pytest.mark.parametrize(
    ("pooling", "causal", "why"),
    [
        (LastToken(), True, "the pooling reads padding"),
        (Mean(include_padding=True), True, "the pooling reads padding"),
        (LastRealToken(), False, "real tokens attend to padding (no causal mask)"),
    ],
    ids=repr,
)
def test_plan_with_padding_that_is_read_disables_packing(
    pooling: clsbench.Pooling, causal: bool, why: str
) -> None:
    found = plan(All(), pooling, causal)
    assert reason(found, "packing") == why
    assert not found.unpadded


@pytest.mark.parametrize("pooling", [LastRealToken(), FirstToken(), Mean(), Attention()], ids=repr)
def test_plan_with_padding_that_is_not_read_packs_texts(pooling: clsbench.Pooling) -> None:
    found = plan(All(), pooling)
    assert found.unpadded
    assert found.packed
    assert not plan(All(), pooling, forbidden=["packing"]).unpadded


def test_plan_with_padding_per_batch_disables_the_prefix() -> None:
    several = Batching(padded=False, batch_size=8, positions=9)
    assert "padded to their batch" in reason(plan(LastBlocks(), batching=several), "prefix")
    assert plan(LastBlocks(), LastRealToken(), batching=several).epochs[0].cut == 3
    alone = plan(LastBlocks(), batching=Batching(padded=False, batch_size=1, positions=9))
    assert alone.epochs[0].cut == 3
    assert alone.unpadded
    assert not alone.mixed_lengths


@pytest.mark.parametrize(
    ("dropout", "cut"),
    [(nn.Dropout(0.1), 2), (nn.Dropout(0.0), 3), (nn.FeatureAlphaDropout(0.2), 2)],
    ids=repr,
)
def test_plan_with_dropout_ends_the_prefix_and_disables_other_shortcuts(
    dropout: nn.Module, cut: int
) -> None:
    with clsbench.without_weights():
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), nn.Linear(12, 2))
        outline.backbone.trf_blocks[1].ff.layers.append(dropout)  # type: ignore[index, union-attr]
    found = plan(LastBlocks(n=1), LastRealToken(), outline=outline)
    assert found.epochs == (EpochCut(cut, -1),)
    if cut == 2:
        assert "block.1 uses random numbers" in reason(found, "position")
        assert "block.1 uses random numbers" in reason(found, "packing")


class Idle(nn.Module):
    """Draws random numbers, but drops nothing."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns its input."""
        return hidden * torch.empty_like(hidden).bernoulli_(1.0)


def test_plan_with_idle_draws_ends_the_prefix_if_the_head_draws() -> None:
    with clsbench.without_weights():
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 2))
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), head)
        layers = outline.backbone.trf_blocks[1].ff.layers  # type: ignore[index, union-attr]
        layers.append(Idle())
    assert plan(LastBlocks(), LastRealToken(), outline=outline).epochs == (EpochCut(2, -1),)


def test_plan_with_dropout_in_the_head_enables_all_shortcuts() -> None:
    with clsbench.without_weights():
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 2))
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), head)
    assert all(s.taken for s in plan(LastBlocks(), LastRealToken(), outline=outline).shortcuts)


def test_plan_with_a_hook_on_the_classifier_disables_all_shortcuts() -> None:
    with clsbench.without_weights():
        outline = Classifier(TinyGPT2().skeleton(), LastToken().build(12), nn.Linear(12, 2))
    outline.register_forward_hook(lambda module, inputs, output: output * 2)
    found = plan(LastBlocks(), outline=outline)
    assert not any(shortcut.taken for shortcut in found.shortcuts)
    assert found.epochs == (EpochCut(0, -1),)


def test_plan_with_all_shortcuts_forbidden_disables_all() -> None:
    found = plan(LastBlocks(), LastRealToken(), forbidden=["prefix", "position", "packing"])
    assert not any(shortcut.taken for shortcut in found.shortcuts)
    assert (found.single, found.unpadded, found.epochs) == (None, False, (EpochCut(0, -1),))


@pytest.mark.parametrize(
    ("names", "padded"),
    [
        (["prefix"], True),
        (["position"], False),
        (["packing"], True),
        (["position", "packing"], True),
    ],
)
def test_plan_without_shortcuts_equals_a_plan_that_is_made_without_them(
    names: list[str], padded: bool
) -> None:
    batching = PADDED._replace(padded=padded)
    for freezing, pooling in ((LastBlocks(), LastRealToken()), (Gradual(), Mean())):
        whole = plan(freezing, pooling, epochs=2, batching=batching)
        expected = plan(freezing, pooling, epochs=2, batching=batching, forbidden=names)
        found = whole.without(names, "unwanted")
        assert found._replace(shortcuts=()) == expected._replace(shortcuts=())
        assert found.taken() == expected.taken()
        for name in {*names} & {*whole.taken()}:
            assert reason(found, name) == "unwanted"


def test_plan_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    plan(LastBlocks(), LastRealToken())
    assert torch.equal(torch.get_rng_state(), state)
