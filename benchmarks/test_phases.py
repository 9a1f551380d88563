"""Forward, backward and train step of all freezing strategies and poolings in the catalog.

A component is timed once it is registered: with its defaults, and the defaults of the other axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from catalog_by_default import component, names
from clsbench.bench.phases import PHASES

STEPS = ("forward", "forward+backward", "train step", "cached train step")
TimePhase = Callable[[torch.device, str, dict[str, Any]], None]


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase not in STEPS])
@pytest.mark.benchmark(group="other phases")
def test_phase(timed_phase: TimePhase, device: torch.device, phase: str) -> None:
    timed_phase(device, phase, {})


@pytest.mark.parametrize("freezing", names("freezing_strategies"))
@pytest.mark.parametrize("phase", STEPS)
def test_freezing(
    benchmark: Any, timed_phase: TimePhase, device: torch.device, phase: str, freezing: str
) -> None:
    component("freezing_strategies", freezing)
    benchmark.group = f"freezing: {phase}"
    timed_phase(device, phase, {"freezing": freezing})


@pytest.mark.parametrize("pooling", names("poolings"))
@pytest.mark.parametrize("phase", STEPS)
def test_pooling(
    benchmark: Any, timed_phase: TimePhase, device: torch.device, phase: str, pooling: str
) -> None:
    component("poolings", pooling)
    benchmark.group = f"pooling: {phase}"
    timed_phase(device, phase, {"pooling": pooling})
