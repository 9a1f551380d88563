"""Which changes of a classifier's state a snapshot detects."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clsbench.fastpath.safety.snapshot import Snapshot


def module() -> Any:
    made: Any = nn.BatchNorm1d(2)
    made.steps, made.worst = 0, float("nan")
    made.list, made.table, made.words = [1, [2]], {"a": 1}, {"a"}
    made.python, made.numpy = random.Random(1), [np.random.default_rng(1)]
    made.plain = torch.ones(2)
    return made


def count(made: Any) -> None:
    made.steps += 1


CHANGES: list[Callable[[Any], object]] = [
    count,
    lambda made: made.list[1].append(3),
    lambda made: made.table.update(a=2),
    lambda made: made.table.update(b=1),
    lambda made: made.words.add("b"),
    lambda made: made.python.random(),
    lambda made: made.numpy[0].random(),
    lambda made: made.running_mean.add_(1),
    lambda made: made.plain.add_(1),
    lambda made: setattr(made, "new", 1),
    lambda made: made.register_buffer("new", torch.ones(1)),
    lambda made: random.random(),
    lambda made: np.random.random(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_snapshot_after_a_change_differs(change: Callable[[Any], object]) -> None:
    made = nn.Sequential(module())
    before = Snapshot(made)
    assert Snapshot(made).is_as(before, frozenset())
    change(made[0])
    assert not Snapshot(made).is_as(before, frozenset())


def test_snapshot_after_a_replaced_tensor_differs_only_if_the_old_one_was_read() -> None:
    made = module()
    before = Snapshot(made)
    memory = made.running_mean.untyped_storage()._cdata
    made.running_mean = made.running_mean * 0.9
    assert Snapshot(made).is_as(before, frozenset())
    assert not Snapshot(made).is_as(before, {memory})


def test_snapshot_ignores_the_mode_and_gradients() -> None:
    made = module()
    before = Snapshot(made)
    made.eval()
    made.weight.grad = torch.ones(2)
    assert Snapshot(made).is_as(before, frozenset())
