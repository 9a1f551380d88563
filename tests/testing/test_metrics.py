"""``check_metric``: what it accepts and refuses."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from broken_components import complaint

import clsbench
from clsbench import testing

CALLS = itertools.count()


class MetricUnderTest(clsbench.Metric, frozen=True):
    """The share of correct texts, with one fault to choose."""

    fault: str = ""
    needs_probabilities = False

    def compute(self, labels: np.ndarray, probabilities: np.ndarray) -> Any:
        found = float((probabilities.argmax(axis=1) == labels).mean())
        match self.fault:
            case "changes":
                probabilities[0] = 0
            case "random":
                found *= 0.5 + next(CALLS) % 2 / 2
            case "order":
                found *= 1 - probabilities[0].argmax() / 2
            case "limits":
                found += 1
            case "nan" if len(np.unique(labels)) == 1:
                return float("nan")
            case "crash" if len(np.unique(labels)) == 1:
                raise KeyError(1)
            case "undefined":
                raise ValueError("never defined")
            case "silent" if len(labels) == 1:
                raise ValueError
            case "sure":
                found *= float(probabilities.max(axis=1).mean())
            case "text":
                return "high"
        return found


def test_check_metric_accepts_a_sound_metric() -> None:
    testing.check_metric(MetricUnderTest())


def test_check_metric_accepts_multi_label_metrics() -> None:
    class Overlap(clsbench.Metric, frozen=True):
        """Share of equal labels."""

        tasks = ("multi-label",)

        def compute(self, labels: np.ndarray, probabilities: np.ndarray) -> float:
            assert labels.dtype == bool
            return float((labels == (probabilities > 0.5)).mean())

    testing.check_metric(Overlap())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("changes", "changes its arguments"),
        ("random", "computed again"),
        ("order", "in another order"),
        ("limits", "outside its limits 0.0 to 1.0"),
        ("nan", "it returns nan"),
        ("crash", "it fails on .*KeyError"),
        ("undefined", "undefined for ordinary predictions"),
        ("silent", "has no message"),
        ("sure", "needs_probabilities = False"),
        ("text", "it is undefined for ordinary"),
    ],
)
def test_check_metric_refuses_a_faulty_metric(fault: str, reason: str) -> None:
    assert re.search(reason, complaint(MetricUnderTest(fault=fault)))
