"""Apply a freezing strategy: which parameters train in which epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

from clsbench.components.axes import FreezingStrategy
from clsbench.components.values import ParameterInfo
from clsbench.errors import PluginError, UsageError, closest_match_hint

BACKBONE_PREFIX = "backbone."


class FreezingPlan(NamedTuple):
    """The names of the backbone's parameters that train, by epoch.

    ``backbone`` holds the names of all parameters of the backbone. All other parameters of the
    classifier are new and always train.
    """

    backbone: frozenset[str]
    by_epoch: tuple[frozenset[str], ...]

    def ever(self) -> frozenset[str]:
        """The names that train in any epoch."""
        return frozenset().union(*self.by_epoch)

    def trains(self, name: str, names: frozenset[str]) -> bool:
        """Whether the classifier's parameter ``name`` trains if the backbone's ``names`` do."""
        own = name.removeprefix(BACKBONE_PREFIX)
        return own not in self.backbone or own == name or own in names

    def apply(self, classifier: nn.Module, names: frozenset[str]) -> None:
        """Set ``requires_grad`` on every parameter of the classifier."""
        for name, parameter in classifier.named_parameters():
            parameter.requires_grad_(self.trains(name, names))


def plan_freezing(
    strategy: FreezingStrategy, parameters: Sequence[ParameterInfo], epochs: int, label: str
) -> FreezingPlan:
    """Call the strategy for every epoch and check its results. ``label`` names it in errors.

    Raises:
        UsageError: it names a parameter that does not exist, or refuses this backbone.
        PluginError: it fails, or does not return names.
    """
    known = frozenset(parameter.name for parameter in parameters)
    by_epoch = []
    for epoch in range(epochs):
        try:
            answer = strategy.trainable_at(parameters, epoch)
            listed = isinstance(answer, Iterable) and not isinstance(answer, str)
            names = frozenset(answer) if listed else None
        except UsageError:  # the strategy's own message
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
    """Check that at least one parameter trains.

    Raises:
        UsageError: no parameter does.
    """
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise UsageError(
            f"freezing strategy {label} selects no parameter, and the head, the pooling and the "
            "adapter have none to train"
        )


def _refuse_unknown(unknown: Iterable[str], known: frozenset[str], label: str) -> None:
    for name in sorted(unknown):
        raise UsageError(
            f"freezing strategy {label} names the parameter {name!r}, which the backbone does not "
            f"have{closest_match_hint(name, known) if len(known) < 500 else ''}"
        )
