"""From a freezing strategy to ``requires_grad``: what trains in which epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

from clsbench.components.axes import FreezingStrategy
from clsbench.components.values import ParameterInfo
from clsbench.errors import PluginError, UsageError, closest_match_hint

BACKBONE_PREFIX = "backbone."


class FreezingPlan(NamedTuple):
    """The names of the backbone's parameters that train, epoch by epoch.

    ``backbone`` holds all of the backbone's parameter names: whatever else a classifier has is
    newly initialised and always trains.
    """

    backbone: frozenset[str]
    by_epoch: tuple[frozenset[str], ...]

    def ever(self) -> frozenset[str]:
        """The names that train in any epoch."""
        return frozenset().union(*self.by_epoch)

    def trains(self, name: str, names: frozenset[str]) -> bool:
        """Whether the classifier's parameter ``name`` trains where ``names`` of the backbone do."""
        own = name.removeprefix(BACKBONE_PREFIX)
        return own not in self.backbone or own == name or own in names

    def apply(self, classifier: nn.Module, names: frozenset[str]) -> None:
        """Set ``requires_grad`` on every parameter of the classifier."""
        for name, parameter in classifier.named_parameters():
            parameter.requires_grad_(self.trains(name, names))


def plan_freezing(
    strategy: FreezingStrategy, parameters: Sequence[ParameterInfo], epochs: int, label: str
) -> FreezingPlan:
    """Ask the strategy for every epoch and check what it says. ``label`` names it in errors.

    Raises:
        UsageError: it names a parameter that does not exist, or refuses this backbone.
        PluginError: it fails, or returns no names.
    """
    known = frozenset(parameter.name for parameter in parameters)
    by_epoch = []
    for epoch in range(epochs):
        try:
            answer = strategy.trainable_at(parameters, epoch)
            listed = isinstance(answer, Iterable) and not isinstance(answer, str)
            names = frozenset(answer) if listed else None
        except UsageError:  # the strategy itself says what does not fit
            raise
        except Exception as error:
            raise PluginError(
                f"freezing strategy {label} failed in epoch {epoch}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if names is None or not all(isinstance(name, str) for name in names):
            raise PluginError(
                f"freezing strategy {label} returned {type(answer).__name__}, expected a list of "
                "parameter names"
            )
        _refuse_unknown(names - known, known, label)
        by_epoch.append(names)
    return FreezingPlan(known, tuple(by_epoch))


def refuse_nothing_to_train(classifier: nn.Module, label: str) -> None:
    """Check that some parameter trains.

    Raises:
        UsageError: none does.
    """
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise UsageError(
            f"freezing strategy {label} leaves nothing at all to train: the head, the pooling and "
            "the adapter have no parameters either"
        )


def _refuse_unknown(unknown: Iterable[str], known: frozenset[str], label: str) -> None:
    for name in sorted(unknown):
        raise UsageError(
            f"freezing strategy {label} names the parameter {name!r}, which the backbone does not "
            f"have{closest_match_hint(name, known) if len(known) < 500 else ''}"
        )
