"""A finished small run, shared by tests."""

from __future__ import annotations

import pytest
from small_runs import run_small

from clsbench.experiment.run import FinishedRun


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_small(tmp_path_factory.mktemp("runs"), given={"curves": True})
