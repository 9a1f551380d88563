"""One run as a job that can be done anywhere: plain values there, plain values back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and how, for a process that knows nothing else.

    ``key`` is the run key; ``spec`` the resolved experiment, as TOML would hold it; ``options`` the
    run's options as plain values, their paths absolute. It needs ``cpus`` cores (its torch uses as
    many threads) and ``gpus`` GPUs. ``plugin_files`` is the content of the plugin files that the
    options name, by path, where :func:`clsbench.portable_job` has put it there.
    """

    key: str
    spec: dict[str, Any]
    options: dict[str, Any]
    cpus: int
    gpus: int
    plugin_files: dict[str, bytes] = {}


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a job is: in ``phase``, ``done`` of ``total`` steps (0 of 0 where it has none)."""

    phase: str
    done: int = 0
    total: int = 0


class JobNote(msgspec.Struct, frozen=True, kw_only=True, tag="note"):
    """Something that the user should know, as a log line."""

    text: str


class JobEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """How a job ended.

    ``run`` is the name of the run's directory in the store, ``None`` where nothing was stored;
    ``error`` says why where the status is not ``finished``.
    """

    status: Literal["finished", "failed", "interrupted"]
    run: str | None = None
    error: str | None = None


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended where its store is out of reach, and all that it would have stored there.

    ``files`` are those of the run's directory by their names in it; none where ``end.run`` is
    ``None``.
    """

    end: JobEnd
    files: dict[str, bytes] = {}


Message = JobProgress | JobNote
Tell = Callable[[Message], None]


class Board(Protocol):
    """Where an executor finds out whether to begin a job, and tells what becomes of it.

    Called from one thread at a time.
    """

    def claim(self, job: Job) -> bool:
        """Whether to begin now: ``False`` where somebody else does it, or has done it."""
        ...

    def tell(self, job: Job, message: Message) -> None:
        """The job is under way and says something."""
        ...

    def end(self, job: Job, end: JobEnd) -> None:
        """The job has ended, in whatever way."""
        ...
