"""A plugin with the executor ``in-process``: a suite's runs do not start processes of their own.

Saves seconds a run in tests of what a suite shows. Load it with ``--plugin in_process_executor``.
"""

from __future__ import annotations

import clsbench
from suites import InProcess


@clsbench.hookimpl
def clsbench_register_executors() -> dict[str, type[clsbench.executors.Executor]]:
    """Register ``in-process``."""
    return {"in-process": InProcess}
