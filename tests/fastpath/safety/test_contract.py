"""Which classifiers may be cached across runs, and which values identify them."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from tiny_gpt2 import TinyGPT2
from torch import nn

from clsbench.builtin.heads import Linear
from clsbench.builtin.lora import LoRA
from clsbench.builtin.poolings import Attention, LastToken
from clsbench.fastpath.safety.contract import module_facts, no_cache_facts, outside_contract
from clsbench.model.classifier import Classifier
from clsbench.testing.miniature import MiniatureBackbone


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Settings(msgspec.Struct, frozen=True):
    scale: float = 1.0


class Config:
    """An object of a library."""

    def __init__(self, width: int) -> None:
        self.width = width


def classifier(change: Callable[[Any], object] | None = None) -> Classifier:
    with torch.device("meta"):
        made = Classifier(TinyGPT2().build({}), LastToken().build(12), Linear().build(12, 3))
    if change is not None:
        change(made)
    return made


def holding(value: object) -> Classifier:
    return classifier(lambda made: setattr(made.backbone.trf_blocks[1], "held", value))


def facts(value: object) -> object:
    return module_facts(holding(value), "backbone", no_cache_facts)


def config_facts(value: object) -> object:
    return vars(value) if isinstance(value, Config) else None


@pytest.mark.parametrize("adapter", [None, LoRA()], ids=repr)
def test_contract_includes_built_in_components(adapter: LoRA | None) -> None:
    for backbone in (TinyGPT2(), MiniatureBackbone()):
        width = backbone.hidden_size()
        with torch.device("meta"):
            made = Classifier(
                backbone.build({}), Attention().build(width), Linear().build(width, 3)
            )
            if adapter is not None:
                adapter.apply(made)
        assert outside_contract(made, no_cache_facts) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0.1, 0.2),
        (b"a", b"b"),
        ("a", None),
        ([1], (1,)),
        ([[1, 2], [3]], [[1], [2, 3]]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a", "b"}, {"a", "c"}),
        (frozenset("a"), frozenset("b")),
        (torch.float32, torch.float64),
        (torch.device("cpu"), torch.device("meta")),
        (torch.Size([1]), torch.Size([2])),
        (Colour.RED, Colour.BLUE),
        (Settings(), Settings(scale=2.0)),
        (F.gelu, F.relu),
        (nn.GELU, nn.ReLU),
    ],
    ids=lambda value: type(value).__name__,
)
def test_facts_of_different_values_differ(one: object, other: object) -> None:
    assert facts(one) == facts(one)
    assert facts(one) != facts(other)
    assert facts([one]) != facts(one)


def test_facts_of_a_set_do_not_depend_on_its_order() -> None:
    words = [f"word {number}" for number in range(50)]
    assert facts(set(words)) == facts(set(words[25:] + words[:25]))


def test_facts_contain_classes_and_children() -> None:
    def activate(made: Any) -> None:
        made.backbone.trf_blocks[1].ff.layers[1] = nn.ReLU()

    def swap(made: Any) -> None:
        made.backbone.trf_blocks[1] = made.backbone.trf_blocks[0]

    found = [
        module_facts(classifier(change), "backbone", no_cache_facts)
        for change in (None, activate, swap)
    ]
    assert found[0] not in found[1:]
    assert found[1] != found[2]


def hook(made: Any) -> None:
    made.backbone.trf_blocks[1].register_forward_hook(lambda *_: None)


def parametrize(made: Any) -> None:
    layer = made.backbone.trf_blocks[1].ff.layers[0]
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())


def use_a_local_class(made: Any) -> None:
    class Local(nn.Module):
        pass

    made.backbone.trf_blocks[1].extra = Local()


def replace_forward(made: Any) -> None:
    made.backbone.final_norm.forward = lambda hidden: hidden


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (hook, "backbone.trf_blocks.1 has hooks"),
        (parametrize, "ParametrizedLinear, cannot be imported by name"),
        (use_a_local_class, "trf_blocks.1.extra, Local, cannot be imported by name"),
        (replace_forward, "backbone.final_norm.forward is a function"),
    ],
)
def test_contract_excludes_hooks_and_code_without_a_name(
    change: Callable[[Any], object], reason: str
) -> None:
    found = outside_contract(classifier(change), no_cache_facts)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), "is a lock"),
        (torch.ones(2), "is a Tensor"),
        (nn.Linear(2, 2).forward, "is a method"),
        ([{"a": Config(3)}], "is a Config"),
        ([nn.Identity()], "is a Identity"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_contract_excludes_other_objects(value: object, reason: str) -> None:
    found = outside_contract(holding(value), no_cache_facts)
    assert found is not None
    assert found.startswith("backbone.trf_blocks.1.held ")
    assert found.endswith(f"{reason} object, which cannot be identified")


def test_contract_excludes_recursive_values() -> None:
    itself: list[object] = []
    itself.append(itself)
    found = outside_contract(holding(itself), no_cache_facts)
    assert found == "backbone.trf_blocks.1.held is nested more than 50 levels deep"


def test_contract_excludes_special_tensors() -> None:
    def make_sparse(made: Any) -> None:
        made.backbone.register_buffer("table", torch.ones(2, 2).to_sparse())

    found = outside_contract(classifier(make_sparse), no_cache_facts)
    assert found == "backbone.table is a Tensor that is not dense or has a special type"


def test_contract_includes_objects_with_cache_facts() -> None:
    made = [holding(Config(width)) for width in (3, 4)]
    assert all(outside_contract(each, config_facts) is None for each in made)
    one, other = (module_facts(each, "backbone", config_facts) for each in made)
    assert one != other


def test_contract_excludes_cache_facts_that_are_not_plain() -> None:
    found = outside_contract(holding(Config(3)), lambda value: [threading.Lock()])
    assert found is not None
    assert found.startswith("cache_facts() of backbone.trf_blocks.1.held is a lock")
