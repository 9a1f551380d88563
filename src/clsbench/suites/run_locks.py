"""Who does which run: what is stored, what somebody else is doing, what is free, what became of it.

Invocations on one store tell each other by a lock for each run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import filelock

from clsbench.errors import UsageError
from clsbench.results.store import finished_run, read_record
from clsbench.schema.job import Job, JobEnd, Message
from clsbench.system.filesystem import OF_ALL_USERS

LOCKS = ".locks"
"""The folder in the store that holds a lock for every run that somebody is doing, and for one that
failed a note for those who waited for it."""

UNDER_WAY = ("running", "elsewhere")
"""The states of a run that has begun and not ended."""


class RunState(NamedTuple):
    """What has become of one run: ``stored`` means that an earlier invocation did it."""

    status: Literal["running", "elsewhere", "stored", "finished", "failed", "interrupted"]
    run: str | None = None
    error: str | None = None


class Watcher(Protocol):
    """Sees what becomes of every run, by its key."""

    def changed(self, key: str, state: RunState) -> None:
        """The run has begun, has ended, or somebody else does it."""
        ...

    def said(self, key: str, message: Message) -> None:
        """The run is under way and says something."""
        ...


class Claims:
    """The board on which an executor sees which runs are free, and reports."""

    def __init__(
        self,
        store: Path,
        watcher: Watcher,
        force: bool,
        keep: Callable[[Mapping[str, RunState]], None],
    ) -> None:
        self.states: dict[str, RunState] = {}
        self.before: dict[str, str] = {}
        """The runs that are stored already and to be done again."""
        self._keep = keep
        self._store = store
        self._watcher = watcher
        self._force = force
        self._locks: dict[str, filelock.FileLock] = {}
        self._elsewhere: list[Job] = []
        self._older: dict[str, Path | None] = {}
        """What was stored of those that others were doing when they were asked for."""

    def without_stored(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are not done yet; the others are entered before anything begins, so that
        they are told of whatever ends the suite."""
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
        """Whether the caller is to do the job; if not, it is done, or somebody else does it."""
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
            told = f"nobody can tell whether it is being done: {error}"
            self._set(job, RunState("failed", error=told))
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
        """What has become of a free job: nothing, or what somebody else has made of it."""
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

    def tell(self, job: Job, message: Message) -> None:
        """Pass on what a job says while it is under way."""
        self._watcher.said(job.key, message)

    def end(self, job: Job, end: JobEnd) -> None:
        """Enter how a claimed job ended, and let others have it."""
        if end.status == "finished" and end.run is not None:
            problem = _not_as_planned(self._store, end.run, job.key)
            if problem is not None:
                end = JobEnd(status="failed", error=problem)
        if end.status == "failed":
            with contextlib.suppress(OSError):  # then others who wait for it do it again
                self._failure(job).write_text(
                    end.error or "it failed", encoding="utf-8", errors="replace"
                )
        self._locks.pop(job.key).release()
        self._set(job, RunState(end.status, end.run, end.error))

    def busy_elsewhere(self) -> list[Job]:
        """The jobs that others were doing when they were asked for; they are asked for anew."""
        busy, self._elsewhere = self._elsewhere, []
        return busy

    def _failure(self, job: Job) -> Path:
        return self._store / LOCKS / f"{job.key}.failed"

    def close(self) -> None:
        """Let go of every job that has not ended."""
        while self._locks:
            self._locks.popitem()[1].release()

    def _set(self, job: Job, state: RunState) -> None:
        self.states[job.key] = state
        if state.status not in UNDER_WAY:
            self._keep(self.states)
        self._watcher.changed(job.key, state)


def _not_as_planned(store: Path, run: str, key: str) -> str | None:
    """Why a finished run is no result of the one that was planned under this key, if it is none."""
    try:
        if read_record(store / run).run_key == key:
            return None
    except UsageError as error:
        return str(error)
    return (
        f"it was run as another experiment than was planned (stored as {run}): where it ran, its "
        "data, its plugins' versions or the device are others; install the same there"
    )
