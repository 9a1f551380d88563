"""The contract of an executor: every granted job is done once, and reported."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from clsbench.components.outer_axes import Executor
from clsbench.results.store import read_record
from clsbench.schema.job import Job, JobEnd, JobProgress, Message, Scheduler
from clsbench.schema.options import RunOptions, plain_options
from clsbench.suites.worker import run_job
from clsbench.testing.promises import check_options, require

SPEC: dict[str, Any] = {
    "name": "executor-under-test",
    "dataset": {"name": "synthetic-sms", "texts": 300},
    "backbone": {"name": "gpt2-nano", "weights": "random"},
    "freezing": {"name": "head-only"},
    "baselines": [],
    "data": {"padding": 16, "balance": False},
    "train": {"epochs": 1, "eval_batches": 1},
}


def check_executor(executor: Executor, at_once: int = 2) -> None:
    """Check an executor on a few small jobs: one of them fails, one is not granted.

    Every granted job must be reported and ended once, with the same metrics and history as
    ``clsbench.executors.run_job`` gives in this process. A job that cannot start must end as
    failed; a job that is not granted must not run. The scheduler must not be called after
    ``execute()`` has returned.

    Raises:
        AssertionError: the executor breaks its contract.
    """
    check_options(executor)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "runs")
        jobs = [
            _job("first", store, {"seed": 1}),
            _job("second", store, {"seed": 2}),
            _job("refused", store, {"seed": 3}),
            _job("fails", store, {"pooling": {"name": "no-such-pooling"}}),
        ]
        scheduler = _Scheduler(refused="refused")
        executor.execute(jobs, at_once, scheduler)
        ended_within = len(scheduler.calls)
        _check_ends(executor, scheduler)
        for job in jobs[:2]:
            expected = run_job(_job(job.key, Path(folder, "here"), job.spec), lambda _: None)
            _check_equal(executor, store, scheduler.ends[job.key], Path(folder, "here"), expected)
        require(
            len(scheduler.calls) == ended_within,
            executor,
            "it calls the scheduler after execute() has returned",
        )


def _job(key: str, store: Path, changes: dict[str, Any]) -> Job:
    options = RunOptions(out=store, device="cpu", threads=1, offline=True, curves=False)
    return Job(key=key, spec={**SPEC, **changes}, options=plain_options(options), cpus=1, gpus=0)


class _Scheduler(Scheduler):
    def __init__(self, refused: str) -> None:
        self.calls: list[tuple[str, str]] = []
        self.ends: dict[str, JobEnd] = {}
        self.together = False
        self._refused = refused
        self._lock = threading.Lock()

    def claim(self, job: Job) -> bool:
        self._note("claim", job)
        return job.key != self._refused

    def report(self, job: Job, message: Message) -> None:
        self._note("progress" if isinstance(message, JobProgress) else "note", job)

    def end(self, job: Job, end: JobEnd) -> None:
        self._note("end", job)
        self.ends[job.key] = end

    def _note(self, what: str, job: Job) -> None:
        if not self._lock.acquire(blocking=False):
            self.together = True
            return
        try:
            self.calls.append((what, job.key))
        finally:
            self._lock.release()


def _check_ends(executor: Executor, scheduler: _Scheduler) -> None:
    require(not scheduler.together, executor, "it calls the scheduler from two threads at once")
    counts = Counter(scheduler.calls)
    for key in ("first", "second", "fails"):
        for what in ("claim", "end"):
            times = counts[what, key]
            require(times == 1, executor, f"{what}() of a job was called {times} times, not once")
    for key in ("first", "second"):
        end = scheduler.ends[key]
        require(end.status == "finished", executor, f"a valid job ended as {end}")
        require(counts["progress", key] > 0, executor, "it reports no progress")
        mine = [what for what, of in scheduler.calls if of == key]
        require(
            (mine[0], mine[-1]) == ("claim", "end"),
            executor,
            "it reports on a job before it has claimed it, or after it has ended it",
        )
    failed = scheduler.ends["fails"]
    require(
        failed.status == "failed" and "no-such-pooling" in str(failed),
        executor,
        f"a job that cannot start must fail with the reason, not end as {failed}",
    )
    about_refused = [what for what, key in scheduler.calls if key == "refused"]
    require(about_refused == ["claim"], executor, "it runs a job that the scheduler did not grant")


def _check_equal(
    executor: Executor, store: Path, end: JobEnd, own_store: Path, expected: JobEnd
) -> None:
    require(end.run is not None, executor, "a finished job must name its run in the store")
    assert end.run is not None
    assert expected.run is not None
    there, here = read_record(store / end.run), read_record(own_store / expected.run)
    require(there.metrics == here.metrics, executor, "its metrics are not those of run_job()")

    def losses(history: Any) -> Any:
        tree = msgspec.to_builtins(history)
        for entry in (*tree["steps"], *tree["epochs"]):
            del entry["seconds"]
        return tree

    require(
        losses(there.history) == losses(here.history),
        executor,
        "its losses are not those of run_job()",
    )
