from __future__ import annotations

import subprocess
import sys

import pytest

import clsbench
from clsbench import executors


def test_executors_public_names_are_defined_only_there() -> None:
    for name in executors.__all__:
        assert hasattr(executors, name)
        assert not hasattr(clsbench, name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        executors.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_executors_import_does_not_load_the_worker() -> None:
    code = "import clsbench.executors, sys; print('clsbench.suites.worker' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
