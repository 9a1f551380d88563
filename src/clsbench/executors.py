"""The public names for authors of executors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsbench.components.outer_axes import Executor
from clsbench.schema.job import Job, JobEnd, JobNote, JobProgress, JobResult, Message, Scheduler

if TYPE_CHECKING:
    from clsbench.suites.worker import portable_job, run_job, run_job_remote, store_result

__all__ = [
    "Executor",
    "Job",
    "JobEnd",
    "JobNote",
    "JobProgress",
    "JobResult",
    "Message",
    "Scheduler",
    "portable_job",
    "run_job",
    "run_job_remote",
    "store_result",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The functions are imported on first use: listing the executors does not need them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from clsbench.suites import worker

        return getattr(worker, name)
