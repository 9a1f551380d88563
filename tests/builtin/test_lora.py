"""LoRA equals the book's in its random draws, arithmetic and training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import clsbench
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.module import GPT2Module, GPT2Shape, stage_of
from clsbench.builtin.freezing_strategies import HeadOnly
from clsbench.builtin.heads import Mlp
from clsbench.builtin.lora import LoRA
from clsbench.builtin.lora_module import LoRALinear, add_lora, merge_lora
from clsbench.builtin.poolings import LastToken
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import resolve
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan, plan_freezing
from clsbench.model.parameters import describe_parameters
from clsbench.schema.experiment import ExperimentSpec

SHAPE = GPT2Shape(width=24, blocks=3, attention_heads=4, context_length=16, vocabulary_size=97)
LINEARS = [
    f"backbone.trf_blocks.{block}.{name}"
    for block in range(SHAPE.blocks)
    for name in (
        "att.W_query", "att.W_key", "att.W_value", "att.out_proj", "ff.layers.0", "ff.layers.2",
    )
] + ["out_head"]  # fmt: skip


def classifier(head: nn.Module | None = None) -> Classifier:
    """A classifier built as in a run: seeded before the backbone and before the head."""
    torch.manual_seed(123)
    backbone = GPT2Module(SHAPE)
    torch.manual_seed(123)
    out_head = nn.Linear(SHAPE.width, 2) if head is None else head
    return Classifier(backbone, LastToken().build(SHAPE.width), out_head)


def head_only(model: Classifier) -> FreezingPlan:
    """The plan of ``--freezing head-only``."""
    parameters = describe_parameters(GPT2Module(SHAPE), stage_of)
    return plan_freezing(HeadOnly(final_norm=False), parameters, 1, "head-only")


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(9)
    return [
        (
            torch.randint(SHAPE.vocabulary_size, (8, 16), generator=generator),
            torch.randint(2, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def train(model: nn.Module, logits: Any, count: int) -> list[float]:
    """The losses of the first batches, optimised as in the book."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)
    losses = []
    for ids, labels in batches(count):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits(ids), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_lora_existing_parameters_keep_name_and_identity() -> None:
    model = classifier()
    before = dict(model.named_parameters())
    LoRA(r=4).apply(model)
    after = dict(model.named_parameters())
    for name, parameter in before.items():
        assert after.pop(name) is parameter
    assert list(after) == [f"{name}.lora_{letter}" for name in LINEARS for letter in "AB"]
    for module in model.modules():
        assert not isinstance(module, nn.Linear) or isinstance(module, LoRALinear)


def test_lora_a_is_drawn_in_module_order_and_b_is_zero() -> None:
    model = classifier()
    features = {name: model.get_submodule(name).in_features for name in LINEARS}
    state = torch.get_rng_state()
    LoRA(r=4).apply(model)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    for name in LINEARS:
        # Kaiming's uniform with a = √5 takes the columns of the (in, r) tensor, r, as the fan.
        bound = math.sqrt(6 / (1 + 5) / 4)
        expected = torch.empty(features[name], 4).uniform_(-bound, bound)
        assert torch.equal(model.get_parameter(f"{name}.lora_A"), expected), name
        assert not model.get_parameter(f"{name}.lora_B").any()
    assert torch.equal(torch.get_rng_state(), after)


def test_lora_initial_outputs_are_unchanged() -> None:
    model = classifier()
    ids, _ = batches(1)[0]
    lengths = torch.full((8,), 16)
    before = model(ids, lengths)
    LoRA(r=4, alpha=100).apply(model)
    assert torch.equal(model(ids, lengths), before)


def test_lora_scale_is_alpha_not_divided_by_the_rank() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(5, 3)
    adapted = LoRALinear(linear, rank=4, alpha=2.5)
    with torch.no_grad():
        adapted.lora_B.normal_()
        x = torch.randn(2, 7, 5)
        weight = linear.weight + 2.5 * (adapted.lora_A @ adapted.lora_B).T
        expected = nn.functional.linear(x, weight, linear.bias)
        torch.testing.assert_close(adapted(x), expected)


def test_lora_layer_without_bias_gets_no_bias() -> None:
    linear = nn.Linear(5, 3, bias=False)
    adapted = LoRALinear(linear, rank=2, alpha=1.0)
    assert [name for name, _ in adapted.named_parameters()] == ["weight", "lora_A", "lora_B"]
    x = torch.randn(4, 5)
    assert torch.equal(adapted(x), linear(x))


def test_lora_adapts_linear_layers_of_head_and_pooling() -> None:
    class LinearPooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(SHAPE.width, 1)

    model = Classifier(GPT2Module(SHAPE), LinearPooling(), Mlp().build(SHAPE.width, 3))
    LoRA().apply(model)
    new = [name for name, _ in model.named_parameters() if name.endswith("lora_A")]
    assert new[-3:] == ["pooling.score.lora_A", "out_head.0.lora_A", "out_head.3.lora_A"]


def conv1d() -> nn.Module:
    pytest.importorskip("transformers")
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(4)
    layer: nn.Module = Conv1D(3, 5)
    nn.init.normal_(layer.bias)
    return layer


def test_lora_conv1d_of_transformers_is_adapted_and_merged() -> None:
    layer = conv1d()
    model = nn.Sequential(layer)
    add_lora(model, 2, 1.5)
    (adapted,) = model
    assert [name for name, _ in adapted.named_parameters()] == [
        "weight", "bias", "lora_A", "lora_B",
    ]  # fmt: skip
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(adapted(x), layer(x))
    with torch.no_grad():
        adapted.lora_B.normal_()
    expected = layer(x) + 1.5 * x @ adapted.lora_A @ adapted.lora_B
    torch.testing.assert_close(adapted(x), expected)
    merge_lora(model)
    assert type(model[0]) is type(layer)
    assert [name for name, _ in model[0].named_parameters()] == ["weight", "bias"]
    torch.testing.assert_close(model[0](x), expected)


def test_lora_merged_classifier_has_plain_layers_and_the_same_logits() -> None:
    model = classifier()
    names = [name for name, _ in model.named_parameters()]
    LoRA(r=4, alpha=3).apply(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(std=0.1)
    ids, _ = batches(1)[0]
    lengths = torch.full((8,), 16)
    before = model(ids, lengths)
    LoRA(r=4, alpha=3).merge(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert {type(model.get_submodule(name)) for name in LINEARS} == {nn.Linear}
    torch.testing.assert_close(model(ids, lengths), before)


def test_lora_on_a_backbone_without_linear_layers_is_refused() -> None:
    model = Classifier(nn.Embedding(9, 4), LastToken().build(4), nn.Linear(4, 2))
    with pytest.raises(clsbench.UsageError, match="the backbone has no linear layers"):
        LoRA().apply(model)


def test_lora_parameter_count_equals_the_books() -> None:
    with torch.device("meta"):
        head = nn.Linear(768, 2)
        model = Classifier(GPT2(weights="random").skeleton(), LastToken().build(768), head)
        before = torch.get_rng_state()
        LoRA(r=16, alpha=16).apply(model)
    assert torch.equal(torch.get_rng_state(), before)
    added = [p for name, p in model.named_parameters() if ".lora_" in name]
    assert all(p.is_meta for p in added)
    assert sum(p.numel() for p in added) == 2_666_528


def test_lora_keeps_dtype_and_mode_of_the_layer() -> None:
    linear = nn.Linear(4, 2).eval()
    torch.manual_seed(1)
    single = LoRALinear(linear, rank=3, alpha=1.0)
    torch.manual_seed(1)
    double = LoRALinear(linear.double(), rank=3, alpha=1.0)
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    assert torch.equal(double.lora_A, single.lora_A.double())
    assert not double.training


def test_lora_with_head_only_trains_the_head_and_new_parameters() -> None:
    """Row 11 of the ablation, with the changes of the command line."""
    catalog = load_catalog()
    changes = {"adapter": "lora:r=16,alpha=16", "freezing": "head-only"}
    experiment = resolve(catalog.spec(ExperimentSpec, "gpt2-sms-spam"), changes, catalog)
    assert experiment.adapter == LoRA(r=16, alpha=16)
    model = classifier()
    experiment.adapter.apply(model)
    parameters = describe_parameters(GPT2Module(SHAPE), stage_of)
    plan = plan_freezing(experiment.freezing, parameters, 1, "head-only")
    plan.apply(model, plan.ever())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    new = {f"{name}.lora_{letter}" for name in LINEARS for letter in "AB"}
    assert trained == new | {"out_head.weight", "out_head.bias"}


def test_lora_training_equals_explicit_matrix_products() -> None:
    """The first losses are those of layers that compute x W' + b + α (x A B) explicitly."""
    ours = classifier()
    LoRA(r=4, alpha=3).apply(ours)
    plan = head_only(ours)
    plan.apply(ours, plan.ever())
    theirs = classifier()

    class Written(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            linear = theirs.get_submodule(name)
            trains = name == "out_head"
            self.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=trains)
            self.bias = nn.Parameter(linear.bias.detach().clone(), requires_grad=trains)
            adapted = ours.get_submodule(name)
            self.a = nn.Parameter(adapted.lora_A.detach().clone())
            self.b = nn.Parameter(adapted.lora_B.detach().clone())

        def forward(self, x: Tensor) -> Tensor:
            added = torch.einsum("...i,ir,ro->...o", x, self.a, self.b)
            return torch.einsum("...i,oi->...o", x, self.weight) + self.bias + 3 * added

    for parameter in theirs.parameters():
        parameter.requires_grad = False
    for name in LINEARS:
        parent, _, attribute = name.rpartition(".")
        setattr(theirs.get_submodule(parent), attribute, Written(name))
    lengths = torch.full((8,), 16)
    expected = train(theirs, lambda ids: theirs(ids, lengths), 12)
    assert train(ours, lambda ids: ours(ids, lengths), 12) == pytest.approx(expected, abs=2e-6)
    assert len(set(expected)) == 12


def test_lora_training_equals_the_books() -> None:
    """Row 11 in the peer, from the same seeds: equal draws and equal first losses."""
    reason = "the peer is absent: pip install --no-deps llms-from-scratch==1.0.19"
    ch04 = pytest.importorskip("llms_from_scratch.ch04", reason=reason)
    appendix_e = pytest.importorskip("llms_from_scratch.appendix_e", reason=reason)
    torch.manual_seed(123)
    peer = ch04.GPTModel(
        {
            "vocab_size": SHAPE.vocabulary_size,
            "context_length": SHAPE.context_length,
            "emb_dim": SHAPE.width,
            "n_heads": SHAPE.attention_heads,
            "n_layers": SHAPE.blocks,
            "drop_rate": 0.0,
            "qkv_bias": True,
        }
    )
    for parameter in peer.parameters():
        parameter.requires_grad = False
    torch.manual_seed(123)
    peer.out_head = nn.Linear(SHAPE.width, 2)
    appendix_e.replace_linear_with_lora(peer, rank=16, alpha=16)
    ours = classifier()
    LoRA(r=16, alpha=16).apply(ours)
    plan = head_only(ours)
    plan.apply(ours, plan.ever())

    theirs = dict(peer.named_parameters())
    adapted = {name.removesuffix(".lora.A") for name in theirs if name.endswith(".lora.A")}

    def books_name(name: str) -> str:
        layer, _, last = name.removeprefix("backbone.").rpartition(".")
        if layer not in adapted:
            return f"{layer}.{last}"
        return f"{layer}.{last.replace('lora_', 'lora.') if 'lora' in last else f'linear.{last}'}"

    for name, parameter in ours.named_parameters():
        expected_parameter = theirs.pop(books_name(name))
        assert torch.equal(parameter, expected_parameter), name
        assert parameter.requires_grad == expected_parameter.requires_grad, name
    assert not theirs

    lengths = torch.full((8,), 16)
    expected = train(peer, lambda ids: peer(ids)[:, -1, :], 20)
    losses = train(ours, lambda ids: ours(ids, lengths), 20)
    assert losses == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01
