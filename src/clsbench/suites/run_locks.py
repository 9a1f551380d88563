"""Determine which runs are free, running, or finished, by file locks.

Several invocations may share a store: each holds a file lock for every run that it performs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import filelock

from clsbench.errors import UsageError
from clsbench.results.store import finished_run, read_record
from clsbench.schema.job import Job, JobEnd, Message
from clsbench.system.filesystem import OF_ALL_USERS

if TYPE_CHECKING:
    from clsbench.suites.planned import SuitePlan

LOCKS = ".locks"
"""The folder in the store with a lock for every run in progress, and with the error of every failed
run for the invocations that waited for it."""

UNDER_WAY = ("running", "elsewhere")
"""The states of a run in progress."""


class RunState(NamedTuple):
    """The state of one run: ``stored`` means that another invocation finished it."""

    status: Literal["running", "elsewhere", "stored", "finished", "failed", "interrupted"]
    run: str | None = None
    error: str | None = None


class SuiteObserver(Protocol):
    """Follows the runs of a suite by their keys."""

    def planned(self, plan: SuitePlan) -> None:
        """The runs that follow are in this plan; called again when a tuned row has further runs."""
        ...

    def changed(self, key: str, state: RunState) -> None:
        """The run has started or ended, or another invocation is doing it."""
        ...

    def received(self, key: str, message: Message) -> None:
        """A message of a running run."""
        ...


class RunLocks:
    """The scheduler of a suite: grants each run to one invocation by a file lock."""

    def __init__(
        self,
        store: Path,
        observer: SuiteObserver,
        force: bool,
        keep: Callable[[Mapping[str, RunState]], None],
    ) -> None:
        self.states: dict[str, RunState] = {}
        self.before: dict[str, str] = {}
        """The stored runs that are to be repeated, by key."""
        self._keep = keep
        self._store = store
        self._observer = observer
        self._force = force
        self._locks: dict[str, filelock.FileLock] = {}
        self._elsewhere: list[Job] = []
        self._older: dict[str, Path | None] = {}
        """The stored version, if any, of each run that another invocation was running."""

    def without_stored(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs still to be done. The others are reported as stored before any job starts, so
        that they are in the results even if the suite is interrupted."""
        left = []
        for job in jobs:
            stored = finished_run(self._store, job.key)
            if stored is not None and not self._force:
                self._set(job, RunState("stored", stored.path.name))
                continue
            left.append(job)
            if stored is not None:
                self.before[job.key] = stored.path.name
        return left

    def claim(self, job: Job) -> bool:
        """Whether to run the job here; if not, it is done or another invocation is running it."""
        lock = filelock.FileLock(self._store / LOCKS / f"{job.key}.lock", mode=OF_ALL_USERS)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            self._elsewhere.append(job)
            if job.key not in self.states:
                stored = finished_run(self._store, job.key)
                self._older[job.key] = stored.path if stored is not None else None
                self._set(job, RunState("elsewhere"))
            return False
        except OSError as error:  # such as one that another user has made
            self._set(job, RunState("failed", error=f"cannot lock this run: {error}"))
            return False
        done = self._done(job)
        if done is not None:
            lock.release()
            self._set(job, done)
            return False
        with contextlib.suppress(OSError):
            self._failure(job).unlink()
        self._locks[job.key] = lock
        self._set(job, RunState("running"))
        return True

    def _done(self, job: Job) -> RunState | None:
        """The result of a free job, if another invocation has ended it; ``None`` if it is to do."""
        waited = job.key in self.states
        if waited:
            with contextlib.suppress(OSError):
                failure = self._failure(job).read_text(encoding="utf-8", errors="replace")
                return RunState("failed", error=failure)
        if self._force and not waited:
            return None
        stored = finished_run(self._store, job.key)
        if stored is None or (self._force and stored.path == self._older.get(job.key)):
            return None
        return RunState("stored", stored.path.name)

    def report(self, job: Job, message: Message) -> None:
        """Pass on a message of a running job."""
        self._observer.received(job.key, message)

    def end(self, job: Job, end: JobEnd) -> None:
        """Record how a granted job ended, and release its lock."""
        if end.status == "finished" and end.run is not None:
            problem = _not_as_planned(self._store, end.run, job.key)
            if problem is not None:
                end = JobEnd(status="failed", error=problem)
        if end.status == "failed":
            with contextlib.suppress(OSError):  # invocations that wait for it then run it again
                self._failure(job).write_text(
                    end.error or "it failed", encoding="utf-8", errors="replace"
                )
        self._locks.pop(job.key).release()
        self._set(job, RunState(end.status, end.run, end.error))

    def busy_elsewhere(self) -> list[Job]:
        """The jobs that other invocations were running when requested; to be requested again."""
        busy, self._elsewhere = self._elsewhere, []
        return busy

    def _failure(self, job: Job) -> Path:
        return self._store / LOCKS / f"{job.key}.failed"

    def close(self) -> None:
        """Release the locks of all jobs that have not ended."""
        while self._locks:
            self._locks.popitem()[1].release()

    def _set(self, job: Job, state: RunState) -> None:
        self.states[job.key] = state
        if state.status not in UNDER_WAY:
            self._keep(self.states)
        self._observer.changed(job.key, state)


def _not_as_planned(store: Path, run: str, key: str) -> str | None:
    """Why a finished run is not the one that was planned under this key; ``None`` if it is."""
    try:
        if read_record(store / run).run_key == key:
            return None
    except UsageError as error:
        return str(error)
    return (
        f"the run (stored as {run}) differs from the planned experiment: its data, the versions of "
        "its plugins or the device differ where it ran; install the same versions there"
    )
