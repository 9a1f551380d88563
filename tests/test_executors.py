from __future__ import annotations

import subprocess
import sys

import pytest

import clsbench
from clsbench import executors


def test_executors_every_public_name_is_defined_and_leaves_clsbench() -> None:
    for name in executors.__all__:
        assert hasattr(executors, name)
        assert not hasattr(clsbench, name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        executors.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_executors_import_loads_no_module_that_runs_jobs() -> None:
    code = "import clsbench.executors, sys; print('clsbench.suites.worker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
