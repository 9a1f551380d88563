"""Freezing plans from the names that a strategy returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from torch import nn

import clsbench
from clsbench.errors import PluginError, UsageError
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import plan_freezing, refuse_nothing_to_train

PARAMETERS = [
    clsbench.ParameterInfo(name=name, stage="block.0", role="weight", shape=(2,), numel=2)
    for name in ("weight", "bias")
]


class ScriptedStrategy(clsbench.FreezingStrategy, frozen=True):
    """Returns the given answers."""

    answers: Any

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> Iterable[str]:
        return self.trainable_at(parameters, 0)

    def trainable_at(
        self, parameters: Sequence[clsbench.ParameterInfo], epoch: int
    ) -> Iterable[str]:
        answer = self.answers[epoch]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def classifier() -> Classifier:
    return Classifier(nn.Linear(2, 2), nn.Identity(), nn.Linear(2, 2))


def test_freezing_plan_head_always_trains_and_backbone_by_epoch() -> None:
    plan = plan_freezing(ScriptedStrategy([[], ["bias"]]), PARAMETERS, 2, "answering")
    assert plan.ever() == {"bias"}
    model = classifier()
    for names, expected in zip(plan.by_epoch, (set(), {"backbone.bias"}), strict=True):
        plan.apply(model, names)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained == {"out_head.weight", "out_head.bias"} | expected


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (["wieght"], UsageError, "'wieght'.*did you mean 'weight'"),
        ("weight", PluginError, "returned str"),
        ([1], PluginError, "expected a list of parameter names"),
        (None, PluginError, "returned NoneType, expected a list of parameter names"),
        (7, PluginError, "returned int, expected a list of parameter names"),
        (RuntimeError("boom"), PluginError, "failed in epoch 0: RuntimeError: boom"),
    ],
)
def test_plan_freezing_invalid_result_names_the_strategy(
    answer: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=f"(?s)answering.*{match}"):
        plan_freezing(ScriptedStrategy([answer]), PARAMETERS, 1, "answering")


class Unwritten(clsbench.FreezingStrategy, frozen=True):
    """Has no ``trainable``."""


def test_plan_freezing_strategy_without_trainable_is_refused() -> None:
    with pytest.raises(PluginError, match=r"unwritten failed .*class Unwritten has no .*trainable"):
        plan_freezing(Unwritten(), PARAMETERS, 1, "unwritten")


def test_refuse_nothing_to_train_without_parameters_is_refused() -> None:
    model = Classifier(nn.Linear(2, 2), nn.Identity(), nn.Identity())
    plan = plan_freezing(ScriptedStrategy([[]]), PARAMETERS, 1, "answering")
    plan.apply(model, plan.ever())
    with pytest.raises(UsageError, match="answering selects no parameter"):
        refuse_nothing_to_train(model, "answering")
