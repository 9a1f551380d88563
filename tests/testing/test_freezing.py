"""``check_freezing_strategy``: what it accepts and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from broken_components import complaint

import clsbench
from clsbench import testing


class Strategy(clsbench.FreezingStrategy, frozen=True):
    """A strategy with one fault to choose."""

    fault: str = ""

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> Any:
        names = [p.name for p in parameters if p.role == "norm"]
        match self.fault:
            case "unknown":
                return ["no.such.parameter"]
            case "text":
                return names[0]
            case "number":
                return 7
            case "infos":
                return list(parameters)
            case "order":
                return names if isinstance(parameters, tuple) else []
            case "refuses":
                raise clsbench.UsageError("this backbone does not fit")
            case "refuses-shallow" if not any(p.stage == "block.5" for p in parameters):
                raise clsbench.UsageError("this backbone does not fit")
        return names

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> Any:
        if self.fault == "late" and epoch == 4:
            return [p.name for p in parameters]
        return self.trainable(parameters)


@pytest.mark.parametrize("fault", ["", "refuses-shallow"])
def test_check_freezing_strategy_valid_strategy_passes(fault: str) -> None:
    testing.check_freezing_strategy(Strategy(fault))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("unknown", "unknown parameters: ['no.such.parameter']"),
        ("text", "returns text, expected names"),
        ("number", "returns int, expected parameter names"),
        ("infos", "expected names of parameters"),
        ("order", "returns different names when called again"),
        ("late", "names what trainable() does not"),
        ("refuses", "all of them"),
    ],
)
def test_check_freezing_strategy_broken_strategy_fails(fault: str, said: str) -> None:
    assert said in complaint(Strategy(fault))


def test_check_freezing_strategy_refusing_given_parameters_fails() -> None:
    deep = testing.MiniatureBackbone(blocks=6).describe()
    testing.check_freezing_strategy(Strategy("refuses-shallow"), deep)
    with pytest.raises(AssertionError, match="refuses the parameters given"):
        testing.check_freezing_strategy(Strategy("refuses-shallow"), deep[:4])
