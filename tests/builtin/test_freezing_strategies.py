from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import msgspec
import pytest

import clsbench
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.freezing_strategies import (
    All,
    BiasOnly,
    Gradual,
    HeadOnly,
    LastBlocks,
    NoneButNorms,
)
from clsbench.testing import MiniatureBackbone

HEAD = 768 * 2 + 2
"""Parameters of the book's head, which always trains."""


@pytest.fixture(scope="module")
def gpt2_small() -> tuple[clsbench.ParameterInfo, ...]:
    return GPT2(weights="random").describe()


def count(parameters: Iterable[clsbench.ParameterInfo], names: Iterable[str]) -> int:
    chosen = set(names)
    return sum(p.numel for p in parameters if p.name in chosen)


@pytest.mark.parametrize(
    ("strategy", "trainable"),
    [
        (HeadOnly(), 1_538),
        (HeadOnly(final_norm=True), 3_074),
        (LastBlocks(), 7_090_946),
        (LastBlocks(n=2), 14_178_818),
        (All(), 124_441_346),
    ],
)
def test_strategies_on_gpt2_small_train_the_books_parameter_counts(
    strategy: clsbench.FreezingStrategy,
    trainable: int,
    gpt2_small: tuple[clsbench.ParameterInfo, ...],
) -> None:
    assert count(gpt2_small, strategy.trainable(gpt2_small)) + HEAD == trainable


def test_last_blocks_trains_the_last_blocks_and_the_final_norm() -> None:
    parameters = MiniatureBackbone(blocks=12).describe()
    names = set(LastBlocks(n=3).trainable(parameters))
    stages = {p.stage for p in parameters if p.name in names}
    assert stages == {"block.9", "block.10", "block.11", "final_norm"}
    assert names == {p.name for p in parameters if p.stage in stages}


def test_last_blocks_n_equal_to_all_blocks_excludes_embeddings() -> None:
    parameters = MiniatureBackbone(blocks=2).describe()
    names = set(LastBlocks(n=2).trainable(parameters))
    assert names == {p.name for p in parameters if p.stage != "embeddings"}


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (4, "n=9, but the backbone has 4 blocks; n=4 trains every block"),
        (1, "n=9, but the backbone has 1 block; n=1 trains"),
        (0, "n=9, but the backbone has no blocks; 'head-only' trains the head alone"),
    ],
)
def test_last_blocks_n_above_the_number_of_blocks_is_refused(blocks: int, said: str) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        LastBlocks(n=9).trainable(MiniatureBackbone(blocks=blocks).describe())


@pytest.mark.parametrize("n", [0, -1, 1.5, "two"])
def test_last_blocks_invalid_n_is_refused(n: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"n": n}, LastBlocks)


def test_none_but_norms_on_gpt2_trains_scales_and_shifts(
    gpt2_small: tuple[clsbench.ParameterInfo, ...],
) -> None:
    names = NoneButNorms().trainable(gpt2_small)
    assert len(names) == (12 * 2 + 1) * 2
    assert all(name.rpartition(".")[2] in ("scale", "shift") for name in names)


def test_bias_only_on_gpt2_trains_biases_and_shifts(
    gpt2_small: tuple[clsbench.ParameterInfo, ...],
) -> None:
    names = BiasOnly().trainable(gpt2_small)
    # Each block: q, k, v, out_proj, two of the feed-forward network, two shifts.
    assert len(names) == 12 * 8 + 1
    assert count(gpt2_small, names) == 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 768
    assert all(name.rpartition(".")[2] in ("bias", "shift") for name in names)


def test_bias_only_with_torch_norms_trains_their_biases() -> None:
    names = BiasOnly().trainable(MiniatureBackbone(blocks=1).describe())
    assert names == [
        "blocks.0.norm.bias",
        "blocks.0.projections.bias",
        "blocks.0.out_proj.bias",
        "final_norm.bias",
    ]


def test_gradual_unfreezes_one_block_per_epoch_from_the_top() -> None:
    parameters = MiniatureBackbone(blocks=3).describe()
    stages = [
        {p.stage for p in parameters if p.name in set(Gradual().trainable_at(parameters, epoch))}
        for epoch in range(6)
    ]
    assert stages == [
        set(),
        {"block.2", "final_norm"},
        {"block.2", "block.1", "final_norm"},
        {"block.2", "block.1", "block.0", "final_norm"},
        {"block.2", "block.1", "block.0", "final_norm", "embeddings"},
        {"block.2", "block.1", "block.0", "final_norm", "embeddings"},
    ]


def test_gradual_epochs_per_block_delays_unfreezing() -> None:
    parameters = MiniatureBackbone(blocks=3).describe()
    sizes = [len(Gradual(epochs_per_block=2).trainable_at(parameters, e)) for e in range(8)]
    assert sizes[0] == sizes[1] == 0 < sizes[2] == sizes[3] < sizes[4] == sizes[5] < sizes[6]


def test_strategies_import_no_torch() -> None:
    code = """
import sys
from clsbench import ParameterInfo
from clsbench.builtin import freezing_strategies as module
info = ParameterInfo(name="a.bias", stage="block.0", role="bias", shape=(2,), numel=2)
for strategy in module.clsbench_register_freezing_strategies().values():
    list(strategy().trainable([info])), list(strategy().trainable_at([info], 1))
heavy = {"torch", "numpy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
