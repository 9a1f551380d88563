"""Training recipes for tests."""

from __future__ import annotations

from typing import Any

from clsbench.builtin.losses import CrossEntropy
from clsbench.builtin.metrics import Accuracy
from clsbench.builtin.optimizers import AdamW
from clsbench.builtin.schedules import Constant
from clsbench.schema.training import TrainSettings
from clsbench.training.recipe import Recipe


def make_recipe(settings: TrainSettings, classes: int = 3, **parts: Any) -> Recipe:
    """The default recipe with these settings, with some of its parts replaced."""
    parts_by_default = AdamW(), Constant(), CrossEntropy(), "accuracy", Accuracy()
    recipe = Recipe(settings, *parts_by_default, class_counts=(4,) * classes)
    return recipe._replace(**parts)
