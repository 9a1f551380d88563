"""The training recipe of an experiment: optimizer, learning rates and loss."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from clsbench.components.metric import Metric
from clsbench.components.resolve import Experiment
from clsbench.components.training_axes import Loss, Optimizer, Schedule
from clsbench.errors import ClsbenchError, PluginError
from clsbench.model.freezing import BACKBONE_PREFIX
from clsbench.schema.experiment import format_component
from clsbench.schema.record import DataFacts
from clsbench.schema.training import TrainSettings

if TYPE_CHECKING:
    from clsbench.components.training_axes import LossFunction


class Recipe(NamedTuple):
    """How a classifier is trained. ``metric`` selects an epoch, if one is selected.

    ``class_counts`` are those of the training texts, 0 for the class that is ignored. ``factors``
    are those of the schedule on the learning rate, by optimizer step; ``None`` if all are 1.
    ``stage_of`` holds the stage of each parameter of the backbone by its name in the classifier.
    ``multi_label``: labels are (B, C) bool.
    """

    settings: TrainSettings
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    metric_name: str
    metric: Metric
    class_counts: tuple[int, ...]
    factors: tuple[float, ...] | None = None
    stage_of: Mapping[str, str] = MappingProxyType({})
    multi_label: bool = False


class OptimizerCosts(NamedTuple):
    """What an optimizer states: see the methods of :class:`Optimizer` of these names."""

    state_size: float
    memory_passes: float
    evaluations: int


def recipe_of(experiment: Experiment, facts: DataFacts) -> Recipe:
    """The recipe of an experiment on its data.

    Raises:
        PluginError: the schedule fails, or returns a factor that is not a finite number from 0.
    """
    settings = experiment.spec.train
    counts = facts.class_counts["train"]
    recipe = Recipe(
        settings,
        experiment.optimizer,
        experiment.schedule,
        experiment.loss,
        experiment.primary,
        experiment.metrics[experiment.primary],
        tuple(
            0 if number == settings.ignore_index else counts.get(name, 0)
            for number, name in enumerate(facts.class_names)
        ),
        stage_of={BACKBONE_PREFIX + p.name: p.stage for p in experiment.backbone.describe()},
        multi_label=facts.multi_label,
    )
    in_epoch = -(-facts.batches["train"] // settings.accumulation)
    steps = settings.epochs * (1 if recipe.optimizer.full_batch else in_epoch)
    return recipe._replace(factors=learning_rate_factors(recipe, steps))


def learning_rate_factors(recipe: Recipe, steps: int) -> tuple[float, ...] | None:
    """The schedule's factor for each optimizer step; ``None`` if all are 1.

    Raises:
        PluginError: the schedule fails, or returns a factor that is not a finite number from 0.
    """
    name = f"schedule {format_component(recipe.settings.schedule)}"
    factors = []
    for step in range(steps):
        with _naming(name):
            factor = recipe.schedule.factor(step, steps)
        if not isinstance(factor, float | int) or not math.isfinite(factor) or factor < 0:
            raise PluginError(
                f"{name} returns the factor {factor!r} for step {step} of {steps}; expected a "
                "finite number of at least 0"
            )
        factors.append(float(factor))
    return None if set(factors) <= {1.0} else tuple(factors)


def build_optimizer(recipe: Recipe, classifier: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of the classifier's parameters that require gradients.

    Raises:
        UsageError: the optimizer refuses its options or the parameters.
        PluginError: it fails, or is not a torch optimizer of these parameters.
    """
    settings = recipe.settings
    name = f"optimizer {format_component(settings.optimizer)}"
    groups = parameter_groups(recipe, classifier)
    given = {id(parameter) for group in groups for parameter in group["params"]}
    with _naming(name), _building_without_dynamo():
        optimizer = recipe.optimizer.build(groups, settings.weight_decay)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise PluginError(
            f"{name}: build() returns {type(optimizer).__name__}, expected a torch.optim.Optimizer"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held != given:
        raise PluginError(
            f"{name}: build() returns an optimizer of {len(held)} parameters, expected one of the "
            f"{len(given)} parameters in the given groups"
        )
    return optimizer


def parameter_groups(recipe: Recipe, classifier: nn.Module) -> list[dict[str, Any]]:
    """The parameters that require gradients, in groups of one learning rate.

    With ``train.layer_decay``, the backbone's last stage trains at that factor of ``train.lr``, the
    one before at its square, and so on down to the embeddings; everything else at ``train.lr``.
    Source: discriminative fine-tuning, in Howard and Ruder, *Universal Language Model Fine-tuning
    for Text Classification*, 2018, section 3.2.

    Raises:
        PluginError: the backbone assigns a parameter to a stage that it does not have.
    """
    lr, decay = recipe.settings.lr, recipe.settings.layer_decay
    trained = [(name, p) for name, p in classifier.named_parameters() if p.requires_grad]
    if decay == 1:
        return [{"params": [parameter for _, parameter in trained], "lr": lr}]
    stages = [stage.name for stage in classifier.backbone.stages()]  # type: ignore[union-attr,operator]
    by_depth: dict[int, list[nn.Parameter]] = {}
    for name, parameter in trained:
        stage = recipe.stage_of.get(name)
        if stage is not None and stage not in stages:
            raise PluginError(
                f"train.layer_decay: the parameter {name} belongs to the stage {stage!r}, which is "
                f"not among the backbone's stages: {', '.join(stages)}"
            )
        depth = 0 if stage is None else len(stages) - stages.index(stage)
        by_depth.setdefault(depth, []).append(parameter)
    return [
        {"params": parameters, "lr": lr * decay**depth}
        for depth, parameters in sorted(by_depth.items())
    ]


def optimizer_costs(recipe: Recipe) -> OptimizerCosts:
    """What the optimizer states of its memory and time.

    Raises:
        PluginError: it fails, or states no finite number from 0.
    """
    name = f"optimizer {format_component(recipe.settings.optimizer)}"
    with _naming(name):
        optimizer = recipe.optimizer
        costs = OptimizerCosts(
            optimizer.state_size(), optimizer.memory_passes(), optimizer.evaluations()
        )
    for method, cost in costs._asdict().items():
        if not isinstance(cost, float | int) or not math.isfinite(cost) or cost < 0:
            raise PluginError(
                f"{name}: {method}() returns {cost!r}, expected a finite number of at least 0"
            )
    return costs


def build_loss(recipe: Recipe) -> LossFunction:
    """The loss function of training.

    Raises:
        PluginError: the loss fails on two texts, or does not return a scalar with a gradient.
    """
    chosen = recipe.settings.loss
    name = f"loss {type(recipe.loss).__name__ if chosen is None else format_component(chosen)}"
    counts = recipe.class_counts
    present = [label for label, count in enumerate(counts) if count] or [0]
    logits = torch.zeros(2, len(counts), requires_grad=True)
    labels = torch.tensor([present[0], present[-1]])
    if recipe.multi_label:
        labels = torch.nn.functional.one_hot(labels, len(counts)).bool()
    with _naming(name):
        function = recipe.loss.build(counts)
        loss: Any = function(logits, labels)
    if not isinstance(loss, torch.Tensor) or loss.shape != ():
        shape = getattr(loss, "shape", None)
        found = f"the shape {tuple(shape)}" if shape is not None else type(loss).__name__
        raise PluginError(f"{name} returns {found}, expected a tensor of shape ()")
    if not loss.requires_grad or not bool(loss.isfinite()):
        problem = "without a gradient" if not loss.requires_grad else f"of {loss.item()}"
        raise PluginError(f"{name} returns a value {problem} for two texts with logits 0")
    return function


@contextmanager
def _building_without_dynamo() -> Iterator[None]:
    """Without the decorator that keeps ``add_param_group`` out of compiled code.

    It imports ``torch._dynamo``, which takes longer than the rest of a dry run.
    """
    decorated = torch.optim.Optimizer.add_param_group
    torch.optim.Optimizer.add_param_group = inspect.unwrap(decorated)  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.optim.Optimizer.add_param_group = decorated  # type: ignore[method-assign]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Convert an error of a component of the recipe."""
    try:
        yield
    except ClsbenchError:
        raise
    except Exception as error:
        raise PluginError(f"{name} failed: {type(error).__name__}: {error}") from error


class LearningRates:
    """Sets the learning rates of an optimizer's groups before each step."""

    def __init__(self, optimizer: torch.optim.Optimizer, factors: Sequence[float] | None) -> None:
        self._optimizer = optimizer
        self._factors = factors
        self._base = [group["lr"] for group in optimizer.param_groups]
        self._step = 0

    def advance(self) -> None:
        """Set the rates of the next step; without factors, nothing is touched."""
        if self._factors is not None:
            factor = self._factors[self._step]
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * factor
            self._step += 1
