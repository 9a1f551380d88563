"""One run as a job for another process or machine: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and how; a process needs no other information to run it.

    ``key`` is the run key; ``spec`` the resolved experiment as a TOML tree; ``options`` the run's
    options as plain values with absolute paths. The job needs ``cpus`` cores (torch uses that many
    threads) and ``gpus`` GPUs. ``plugin_files`` maps the path of each plugin file in the options to
    its content; :func:`clsbench.executors.portable_job` fills it in. Jobs of one ``group`` (the
    trials of a row) prepare much the same; an executor may run them one after another in a process.
    """

    key: str
    spec: dict[str, Any]
    options: dict[str, Any]
    cpus: int
    gpus: int
    plugin_files: dict[str, bytes] = {}
    group: str = ""


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """Progress of a job: ``done`` of ``total`` steps of ``phase`` (0 of 0 if it has no steps)."""

    phase: str
    done: int = 0
    total: int = 0


class JobNote(msgspec.Struct, frozen=True, kw_only=True, tag="note"):
    """A message for the user, logged as a warning."""

    text: str


class JobEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """How a job ended.

    ``run`` is the name of the run's directory in the store, or ``None`` if nothing was stored.
    ``error`` is the reason if the status is not ``finished``.
    """

    status: Literal["finished", "failed", "interrupted"]
    run: str | None = None
    error: str | None = None


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a job that ran without access to its store, and the files to be stored.

    ``files`` maps the names in the run's directory to their contents; it is empty if ``end.run`` is
    ``None``.
    """

    end: JobEnd
    files: dict[str, bytes] = {}


Message = JobProgress | JobNote
OnMessage = Callable[[Message], None]


class Scheduler(Protocol):
    """Grants jobs to an executor, and receives their messages and ends.

    Executors must not call it from several threads at once.
    """

    def claim(self, job: Job) -> bool:
        """Whether to start the job now: ``False`` if another process is doing or has done it."""
        ...

    def report(self, job: Job, message: Message) -> None:
        """Pass on a message of a running job."""
        ...

    def end(self, job: Job, end: JobEnd) -> None:
        """Record that a granted job has ended, successfully or not."""
        ...
