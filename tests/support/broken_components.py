"""Checks by axis, and their error messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import clsbench
from clsbench import testing

CHECKS: dict[type[Any], Callable[[Any], None]] = {
    clsbench.FreezingStrategy: testing.check_freezing_strategy,
    clsbench.Pooling: testing.check_pooling,
    clsbench.Head: testing.check_head,
    clsbench.Backbone: testing.check_backbone,
    clsbench.Dataset: testing.check_dataset,
    clsbench.Adapter: testing.check_adapter,
    clsbench.Baseline: testing.check_baseline,
    clsbench.Metric: testing.check_metric,
}


def complaint(component: object) -> str:
    """The message of the failing check of a broken component."""
    check = next(check for kind, check in CHECKS.items() if isinstance(component, kind))
    with pytest.raises(AssertionError) as caught:
        check(component)
    message = str(caught.value)
    assert type(component).__name__ in message
    return message
