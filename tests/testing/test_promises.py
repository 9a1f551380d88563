"""Checks that apply to components of every axis."""

from __future__ import annotations

import subprocess
import sys

import pytest
from broken_components import complaint
from torch import nn

import clsbench
from clsbench import testing


class Undocumented(clsbench.Head, frozen=True):
    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


Undocumented.__doc__ = None


class LosesNone(clsbench.Head, frozen=True):
    """Has an option that may be None with another default, which text cannot express."""

    width: int | None = 4

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


def test_check_head_undocumented_component_fails() -> None:
    assert "docstring" in complaint(Undocumented())


def test_check_head_options_that_do_not_round_trip_fail() -> None:
    testing.check_head(LosesNone())
    assert "reads back as LosesNone(width=4)" in complaint(LosesNone(width=None))


def test_testing_import_does_not_load_torch() -> None:
    code = "import sys, clsbench.testing; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_testing_public_names_are_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_check"):
        testing.no_such_check  # noqa: B018
