"""Components that keep to the assumptions: the shortcuts stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from altered_classifiers import Change, assert_same, block, both
from torch import Tensor, nn
from trial_components import (
    behind,
    device_of,
)

from clsbench.builtin.freezing_strategies import HeadOnly, LastBlocks
from clsbench.builtin.poolings import LastRealToken


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
def test_prefix_with_a_harmless_component_is_kept(change: Change, device: torch.device) -> None:
    plain, fast = both(change, LastBlocks(), trial=True, device=device)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 3


@pytest.mark.parametrize("batch_size", [1, 3])
def test_prefix_with_attention_of_torch_is_kept(batch_size: int, device: torch.device) -> None:
    """Torch uses other kernels for a single text."""

    def attend(classifier: Any) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layer = nn.TransformerEncoderLayer(
                12, 2, 24, 0.0, batch_first=True, device=device_of(classifier), dtype=torch.float64
            )
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        # The layer does not belong to the classifier, which is moved to its device later.
        hook = block(classifier, 0).register_forward_hook
        hook(lambda m, inputs, out: layer.to(out.device)(out))

    plain, fast = both(attend, HeadOnly(), trial=True, batch_size=batch_size, device=device)
    assert_same(plain, fast)
    assert fast.problem is None
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut == 6


@pytest.mark.parametrize("index", [0, 2], ids=["frozen", "trained"])
def test_packing_with_a_block_that_expects_three_axes_is_refused(
    index: int, device: torch.device
) -> None:
    """Packed, several texts have two axes; a single text has three."""

    def expect_texts(classifier: Any) -> None:
        def unpack(module: Any, inputs: Any, out: Tensor) -> Tensor:
            _, _, features = out.shape
            assert features == 12
            return out

        block(classifier, index).ff.register_forward_hook(unpack)

    plain, fast = both(expect_texts, LastBlocks(), LastRealToken(), trial=True, device=device)
    assert_same(plain, fast)
    assert fast.problem is not None
    assert fast.problem.startswith("the trial of the fast path failed: ValueError")


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_trial_of_batch_normalisation_makes_no_smaller_batch_than_training(
    batch_size: int, device: torch.device
) -> None:
    def normalise(classifier: Any) -> None:
        classifier.out_head = nn.Sequential(nn.BatchNorm1d(12), classifier.out_head)

    if batch_size == 1:
        with pytest.raises(ValueError, match="more than 1 value"):
            both(normalise, LastBlocks(), batch_size=1, trial=True, device=device)
        return
    plain, fast = both(normalise, LastBlocks(), batch_size=batch_size, trial=True, device=device)
    assert fast.problem is None
    # The bias before the normalisation has no effect, so only rounding errors change it.
    assert fast.losses == pytest.approx(plain.losses, rel=1e-6)
    assert fast.plan is not None
    assert fast.plan.epochs[0].cut > 1
