"""What is derived about a classifier: where its prefix ends, and why a shortcut is not taken."""

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
def test_the_prefix_ends_where_training_begins(
    freezing: clsbench.FreezingStrategy, cut: int
) -> None:
    found = plan(freezing)
    assert found.stages == STAGES
    assert found.epochs == (EpochCut(cut, -1),)
    if cut == 0:
        assert reason(found, "prefix") == "embeddings trains"


def test_a_trained_pooling_ends_the_prefix() -> None:
    assert plan(HeadOnly(), Attention()).epochs == (EpochCut(5, -1),)
    assert plan(HeadOnly(), Mean()).epochs == (EpochCut(6, -1),)


def test_embeddings_alone_are_not_worth_keeping() -> None:
    found = plan(HeadOnly(), adapter=LoRA())
    assert found.epochs == (EpochCut(0, -1),)
    assert reason(found, "prefix") == (
        "block.0 trains already, at least in part; before it there is only embeddings, looked up "
        "as fast as it would be read"
    )


@pytest.mark.parametrize(
    ("room", "said"),
    [
        ((10**9, 8 * 10**9), "(at most 5 kB; room: 1 GB in memory, 8 GB on disk)"),
        ((0, 5000), "(at most 5 kB; room: none in memory, 5 kB on disk)"),
        (
            (3000, 1000),
            "(at most 5 kB; room: 3 kB in memory, 1 kB on disk; what finds none is computed every "
            "time)",
        ),
    ],
)
def test_what_is_kept_and_where_is_said_with_the_prefix(room: tuple[int, int], said: str) -> None:
    found = in_room(plan(LastBlocks()), most_bytes=5000, least_bytes=100, room=room)
    (prefix,) = [shortcut for shortcut in found.shortcuts if shortcut.name == "prefix"]
    assert prefix.taken
    assert found.epochs == (EpochCut(3, -1),)
    assert prefix.detail.startswith("embeddings to block.1, frozen: computed once")
    assert prefix.detail.endswith(said)


@pytest.mark.parametrize("room", [(0, 0), (99, 20)])
def test_without_any_room_there_is_no_prefix(room: tuple[int, int]) -> None:
    found = in_room(plan(Gradual(), epochs=3), most_bytes=5000, least_bytes=100, room=room)
    assert "no room" in reason(found, "prefix")
    assert found.epochs == (EpochCut(0, -1),) * 3
    assert found.single == 3
    none = plan(All())
    assert in_room(none, 0, 0, room) == none


def test_a_prefix_that_moves_is_told_by_epoch() -> None:
    (prefix,) = [s for s in plan(Gradual(), epochs=2).shortcuts if s.name == "prefix"]
    assert prefix.detail.startswith("by epoch embeddings to pooling, then embeddings to block.1, ")


def test_a_cut_that_moves_down_voids_nothing() -> None:
    found = plan(Gradual(), epochs=4)
    assert [epoch.since for epoch in found.epochs] == [-1] * 4
    cuts = [epoch.cut for epoch in found.epochs]
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[0] == 6


def test_a_stage_that_was_trained_and_is_frozen_again_voids_what_was_kept() -> None:
    class Turns(clsbench.FreezingStrategy, frozen=True):
        """The first block, then the last, then the head alone."""

        def trainable(self, parameters):  # type: ignore[no-untyped-def]
            return self.trainable_at(parameters, 0) | self.trainable_at(parameters, 1)

        def trainable_at(self, parameters, epoch):  # type: ignore[no-untyped-def]
            stage = {0: "block.0", 1: "block.2"}.get(epoch)
            return {p.name for p in parameters if p.stage == stage}

    found = plan(Turns(), epochs=3)
    assert found.epochs == (EpochCut(0, -1), EpochCut(3, 0), EpochCut(6, 1))


def test_the_pooled_position() -> None:
    assert plan(All()).single == 3
    assert reason(plan(All(), Mean()), "position") == "the pooling reads more than one position"
    assert plan(All(), forbidden=["position"]).single is None


@pytest.mark.parametrize(
    ("pooling", "causal", "why"),
    [
        (LastToken(), True, "the pooling reads padding"),
        (Mean(include_padding=True), True, "the pooling reads padding"),
        (LastRealToken(), False, "real tokens attend to padding (there is no causal mask)"),
    ],
    ids=repr,
)
def test_padding_that_matters_is_computed(
    pooling: clsbench.Pooling, causal: bool, why: str
) -> None:
    found = plan(All(), pooling, causal)
    assert reason(found, "packing") == why
    assert not found.unpadded


@pytest.mark.parametrize("pooling", [LastRealToken(), FirstToken(), Mean(), Attention()], ids=repr)
def test_padding_that_does_not_matter_is_not(pooling: clsbench.Pooling) -> None:
    found = plan(All(), pooling)
    assert found.unpadded
    assert found.packed
    assert not plan(All(), pooling, forbidden=["packing"]).unpadded


def test_texts_padded_batch_by_batch_are_not_the_same_every_time() -> None:
    several = Batching(padded=False, batch_size=8, positions=9)
    assert "batch by batch" in reason(plan(LastBlocks(), batching=several), "prefix")
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
def test_dropout_at_work_ends_the_prefix_and_every_other_shortcut(
    dropout: nn.Module, cut: int
) -> None:
    with clsbench.without_weights():
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), nn.Linear(12, 2))
        outline.backbone.trf_blocks[1].ff.layers.append(dropout)  # type: ignore[index, union-attr]
    found = plan(LastBlocks(n=1), LastRealToken(), outline=outline)
    assert found.epochs == (EpochCut(cut, -1),)
    if cut == 2:
        assert "block.1 draws at random" in reason(found, "position")
        assert "block.1 draws at random" in reason(found, "packing")


class Idle(nn.Module):
    """Draws, and drops nothing."""

    def forward(self, hidden: Tensor) -> Tensor:
        """The same."""
        return hidden * torch.empty_like(hidden).bernoulli_(1.0)


def test_dropout_of_nothing_still_moves_the_generator_that_the_head_draws_from() -> None:
    with clsbench.without_weights():
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 2))
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), head)
        layers = outline.backbone.trf_blocks[1].ff.layers  # type: ignore[index, union-attr]
        layers.append(Idle())
    assert plan(LastBlocks(), LastRealToken(), outline=outline).epochs == (EpochCut(2, -1),)


def test_dropout_in_the_head_forbids_nothing() -> None:
    with clsbench.without_weights():
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 2))
        outline = Classifier(TinyGPT2().skeleton(), LastRealToken().build(12), head)
    assert all(s.taken for s in plan(LastBlocks(), LastRealToken(), outline=outline).shortcuts)


def test_a_changed_forward_pass_is_left_alone() -> None:
    with clsbench.without_weights():
        outline = Classifier(TinyGPT2().skeleton(), LastToken().build(12), nn.Linear(12, 2))
    outline.register_forward_hook(lambda module, inputs, output: output * 2)
    found = plan(LastBlocks(), outline=outline)
    assert not any(shortcut.taken for shortcut in found.shortcuts)
    assert found.epochs == (EpochCut(0, -1),)


def test_all_may_be_forbidden() -> None:
    found = plan(LastBlocks(), LastRealToken(), forbidden=["prefix", "position", "packing"])
    assert not any(shortcut.taken for shortcut in found.shortcuts)
    assert (found.single, found.unpadded, found.epochs) == (None, False, (EpochCut(0, -1),))


@pytest.mark.parametrize("names", [["prefix"], ["position"], ["packing"], ["position", "packing"]])
@pytest.mark.parametrize("padded", [True, False])
def test_plan_without_shortcuts_equals_a_plan_that_is_made_without_them(
    names: list[str], padded: bool
) -> None:
    batching = PADDED._replace(padded=padded)
    for freezing, pooling in ((LastBlocks(), LastRealToken()), (Gradual(), Mean())):
        whole = plan(freezing, pooling, epochs=3, batching=batching)
        expected = plan(freezing, pooling, epochs=3, batching=batching, forbidden=names)
        found = whole.without(names, "unwanted")
        assert found._replace(shortcuts=()) == expected._replace(shortcuts=())
        assert found.taken() == expected.taken()
        for name in {*names} & {*whole.taken()}:
            assert reason(found, name) == "unwanted"


def test_random_numbers_are_not_drawn_by_planning() -> None:
    state = torch.get_rng_state()
    plan(LastBlocks(), LastRealToken())
    assert torch.equal(torch.get_rng_state(), state)
