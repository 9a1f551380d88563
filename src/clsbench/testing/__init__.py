"""The conformance kit for plugin authors: the contracts of components, as tests.

Each check uses a component as a run does, and raises ``AssertionError`` if it breaks its contract;
the message names the component and the problem. ``clsbench`` runs the same checks over its catalog.

    def test_my_strategy():
        clsbench.testing.check_freezing_strategy(MyStrategy(blocks=2))

Loaded on first use: importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsbench.testing.adapters import check_adapter as check_adapter
    from clsbench.testing.backbones import check_backbone as check_backbone
    from clsbench.testing.baselines import check_baseline as check_baseline
    from clsbench.testing.datasets import check_dataset as check_dataset
    from clsbench.testing.executors import check_executor as check_executor
    from clsbench.testing.freezing import check_freezing_strategy as check_freezing_strategy
    from clsbench.testing.heads import check_head as check_head
    from clsbench.testing.losses import check_loss as check_loss
    from clsbench.testing.metrics import check_metric as check_metric
    from clsbench.testing.miniature import MiniatureBackbone as MiniatureBackbone
    from clsbench.testing.optimizers import check_optimizer as check_optimizer
    from clsbench.testing.poolings import check_pooling as check_pooling
    from clsbench.testing.promises import check_options as check_options
    from clsbench.testing.schedules import check_schedule as check_schedule
    from clsbench.testing.tuners import check_tuner as check_tuner

_HOMES = {
    "MiniatureBackbone": "miniature",
    "check_adapter": "adapters",
    "check_backbone": "backbones",
    "check_baseline": "baselines",
    "check_dataset": "datasets",
    "check_executor": "executors",
    "check_freezing_strategy": "freezing",
    "check_head": "heads",
    "check_loss": "losses",
    "check_optimizer": "optimizers",
    "check_metric": "metrics",
    "check_options": "promises",
    "check_pooling": "poolings",
    "check_schedule": "schedules",
    "check_tuner": "tuners",
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clsbench.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"clsbench.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
