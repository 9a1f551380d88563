"""An observer of the losses of a run."""

from __future__ import annotations

from typing import Any

import clsbench


class Losses:
    """Records the loss of every batch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    @clsbench.hookimpl
    def clsbench_step_finished(self, report: Any) -> None:
        self.values.append(report.loss())
