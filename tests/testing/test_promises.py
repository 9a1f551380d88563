"""What every component must keep to, whatever its axis."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support.broken_components import complaint
from torch import nn

import clsbench
from clsbench import testing


class Undocumented(clsbench.Head, frozen=True):
    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


Undocumented.__doc__ = None


class LosesNone(clsbench.Head, frozen=True):
    """Text has no word for an option that is None while the default is not."""

    width: int | None = 4

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


def test_options_must_be_documented() -> None:
    assert "docstring" in complaint(Undocumented())


def test_options_must_survive_the_command_line() -> None:
    testing.check_head(LosesNone())
    assert "reads back as LosesNone(width=4)" in complaint(LosesNone(width=None))


def test_importing_the_kit_imports_no_torch() -> None:
    code = "import sys, clsbench.testing; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_check"):
        testing.no_such_check  # noqa: B018
