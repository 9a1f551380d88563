"""The training recipe: what its components may return, and how errors name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from recipes import make_recipe
from tiny_gpt2 import TinyGPT2
from torch import Tensor, nn

import clsbench
from clsbench.builtin.poolings import LastToken
from clsbench.errors import PluginError, UsageError
from clsbench.model.classifier import Classifier
from clsbench.schema.training import TrainSettings
from clsbench.training.recipe import (
    LearningRates,
    Recipe,
    build_loss,
    build_optimizer,
    learning_rate_factors,
    optimizer_costs,
    parameter_groups,
)


class AnyFactor(clsbench.Schedule, frozen=True):
    """Returns given factors."""

    factors: tuple[Any, ...] = ()

    def factor(self, step: int, steps: int) -> float:
        """The given factor, or an error."""
        factor: float = self.factors[step]
        return factor


class AnyOptimizer(clsbench.Optimizer, frozen=True):
    """Calls a function that is set on the class."""

    make: Any = None

    def build(self, groups: Sequence[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
        """The function's result."""
        optimizer: torch.optim.Optimizer = self.make(groups)
        return optimizer


class AnySize(clsbench.Optimizer, frozen=True):
    """States a given size."""

    size: Any = 0

    def state_size(self) -> float:
        """The given size."""
        size: float = self.size
        return size


class AnyLoss(clsbench.Loss, frozen=True):
    """Returns a given function."""

    function: Any = None

    def build(self, class_counts: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """The given function."""
        function: Callable[[Tensor, Tensor], Tensor] = self.function
        return function


def recipe(**parts: Any) -> Recipe:
    named = {"optimizer": "mine:a=1", "schedule": "mine:b=2", "loss": "mine:c=3"}
    settings = parts.pop("settings", None) or TrainSettings(lr=0.5, **named)  # type: ignore[arg-type]
    return make_recipe(settings, **parts)


# --- the schedule -----------------------------------------------------------------------------


def test_learning_rate_factors_all_1_are_none() -> None:
    assert learning_rate_factors(recipe(), 10) is None
    assert learning_rate_factors(recipe(schedule=AnyFactor((1, 1.0))), 2) is None


def test_learning_rate_factors_are_those_of_the_schedule() -> None:
    assert learning_rate_factors(recipe(schedule=AnyFactor((0.5, 1, 0))), 3) == (0.5, 1.0, 0.0)


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (float("nan"), "returns the factor nan for step 1 of 2"),
        (float("inf"), "returns the factor inf"),
        (-0.1, "returns the factor -0.1"),
        ("1", "returns the factor '1'"),
        (None, "returns the factor None"),
    ],
)
def test_learning_rate_factors_unusable_factor_is_refused(factor: Any, said: str) -> None:
    with pytest.raises(PluginError, match="schedule mine:b=2") as caught:
        learning_rate_factors(recipe(schedule=AnyFactor((1.0, factor))), 2)
    assert said in str(caught.value)


def test_learning_rate_factors_error_of_the_schedule_names_it() -> None:
    with pytest.raises(PluginError, match=r"schedule mine:b=2 failed: IndexError"):
        learning_rate_factors(recipe(schedule=AnyFactor((1.0,))), 2)


def test_learning_rates_follow_the_factors_in_every_group() -> None:
    one, two = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 1.0}, {"params": [two], "lr": 0.5}])
    rates = LearningRates(optimizer, (0.5, 0.25))
    found = []
    for _ in range(2):
        rates.advance()
        found.append([group["lr"] for group in optimizer.param_groups])
    assert found == [[0.5, 0.25], [0.25, 0.125]]


# --- the optimizer ----------------------------------------------------------------------------


def test_build_optimizer_holds_the_parameters_that_train() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    optimizer = build_optimizer(recipe(), layer)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(layer.weight)]
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.5, 0.1, True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda groups: None, "build() returns NoneType, expected a torch.optim.Optimizer"),
        (lambda groups: groups, "build() returns list"),
        (lambda groups: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (
            lambda groups: torch.optim.SGD(groups[0]["params"][:1], lr=1.0),
            "an optimizer of 1 parameters, expected one of the 2 parameters in the given groups",
        ),
    ],
)
def test_build_optimizer_unusable_result_is_refused(make: Any, said: str) -> None:
    with pytest.raises(PluginError, match="optimizer mine:a=1") as caught:
        build_optimizer(recipe(optimizer=AnyOptimizer(make)), nn.Linear(2, 2))
    assert said in str(caught.value)


def test_build_optimizer_refusal_of_the_component_is_kept() -> None:
    def refuse(groups: Any) -> Any:
        raise UsageError("it does not fit")

    with pytest.raises(UsageError, match=r"^it does not fit$"):
        build_optimizer(recipe(optimizer=AnyOptimizer(refuse)), nn.Linear(2, 2))


@pytest.mark.parametrize("size", [None, "2", float("nan"), -1.0])
def test_optimizer_costs_unusable_amount_is_refused(size: Any) -> None:
    with pytest.raises(PluginError, match="optimizer mine:a=1") as caught:
        optimizer_costs(recipe(optimizer=AnySize(size)))
    assert "returns" in str(caught.value) or "failed" in str(caught.value)


def test_optimizer_costs_are_those_that_it_states() -> None:
    assert optimizer_costs(recipe()) == (2, 7, 1)


# --- the loss ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda logits, labels: 1.0, "returns float, expected a tensor of shape ()"),
        (lambda logits, labels: logits.sum(dim=1), "returns the shape (2,), expected a tensor"),
        (lambda logits, labels: logits.detach().sum(), "returns a value without a gradient"),
        (lambda logits, labels: logits.sum() * float("nan"), "returns a value of nan"),
        (lambda logits: logits.sum(), "failed: TypeError"),
        (None, "failed: TypeError"),
    ],
)
def test_build_loss_unusable_function_is_refused(function: Any, said: str) -> None:
    with pytest.raises(PluginError, match="loss mine:c=3") as caught:
        build_loss(recipe(loss=AnyLoss(function)))
    assert said in str(caught.value)


def test_build_loss_of_a_class_without_texts_is_not_asked_for_it() -> None:
    labels: list[list[int]] = []

    def note(logits: Tensor, given: Tensor) -> Tensor:
        labels.append(given.tolist())
        return logits.sum()

    build_loss(recipe(loss=AnyLoss(note), class_counts=(0, 3, 0)))
    assert labels == [[1, 1]]


# --- learning rates by stage ------------------------------------------------------------------


def classifier_and_stages() -> tuple[Classifier, dict[str, str]]:
    backbone = TinyGPT2()
    classifier = Classifier(backbone.build({}), LastToken().build(12), nn.Linear(12, 3))
    return classifier, {f"backbone.{p.name}": p.stage for p in backbone.describe()}


def test_parameter_groups_without_layer_decay_are_one_in_the_order_of_the_classifier() -> None:
    classifier, stage_of = classifier_and_stages()
    (group,) = parameter_groups(recipe(stage_of=stage_of), classifier)
    assert list(map(id, group["params"])) == list(map(id, classifier.parameters()))
    assert group["lr"] == 0.5


def test_parameter_groups_with_layer_decay_halve_the_rate_from_stage_to_stage() -> None:
    classifier, stage_of = classifier_and_stages()
    settings = TrainSettings(lr=1.0, layer_decay=0.5)
    groups = parameter_groups(recipe(settings=settings, stage_of=stage_of), classifier)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    expected = {"embeddings": 1 / 32, "block.0": 1 / 16, "block.1": 1 / 8, "block.2": 1 / 4}
    expected["final_norm"] = 1 / 2
    for name, parameter in classifier.named_parameters():
        assert rate_of[id(parameter)] == expected.get(stage_of.get(name, "head"), 1.0), name


def test_parameter_groups_hold_only_what_trains() -> None:
    classifier, stage_of = classifier_and_stages()
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_("trf_blocks.1." in name)
    settings = TrainSettings(lr=1.0, layer_decay=0.5)
    groups = parameter_groups(recipe(settings=settings, stage_of=stage_of), classifier)
    assert [group["lr"] for group in groups] == [1 / 8]


def test_parameter_groups_unknown_stage_of_the_backbone_is_refused() -> None:
    classifier, stage_of = classifier_and_stages()
    wrong = dict.fromkeys(stage_of, "blok")
    settings = TrainSettings(layer_decay=0.5)
    with pytest.raises(PluginError, match=r"belongs to the stage 'blok', which is not among"):
        parameter_groups(recipe(settings=settings, stage_of=wrong), classifier)
