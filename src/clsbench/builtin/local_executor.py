"""The executor ``local``: processes on this machine."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

import clsbench
from clsbench import Board, Job, JobEnd, JobNote, JobProgress

_Said = queue.SimpleQueue[tuple["_Worker", JobProgress | JobNote | None]]
_MESSAGES = msgspec.json.Decoder(JobProgress | JobNote | JobEnd)
_LAST_WORDS = 3
"""Lines of a dead process's stderr that are told."""

_GRACE_SECONDS = 60.0
"""How long an interrupted job may take to store what it has learned."""


class Local(clsbench.Executor, frozen=True):
    """Processes on this machine, one a job."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, board: Board) -> None:
        """Do the jobs in their order, ``at_once`` (one) at a time."""
        waiting = deque(jobs)
        running: set[_Worker] = set()
        said: _Said = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or 1):
                    job = waiting.popleft()
                    if board.claim(job):
                        running.add(_Worker(job, said))
                if running:
                    worker, message = said.get()
                    if message is None:
                        running.discard(worker)
                        board.end(worker.job, worker.outcome())
                    else:
                        board.tell(worker.job, message)
        except BaseException:
            for worker in running:
                worker.interrupt()
            for worker in running:
                board.end(worker.job, worker.outcome(_GRACE_SECONDS))
            raise


class _Worker:
    """A process that does one job. It dies with this one, whose end of its stdin it watches."""

    def __init__(self, job: Job, said: _Said) -> None:
        self.job = job
        self._end: JobEnd | None = None
        self._interrupted = False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the rest
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clsbench.suites.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C reaches it through this process alone
        )
        self._listener = threading.Thread(target=self._listen, args=(said,), daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: what it said is told with its end
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ask the process to store what it has learned, and to end."""
        self._interrupted = True
        self._process.send_signal(signal.SIGINT)

    def outcome(self, patience_seconds: float | None = None) -> JobEnd:
        """How the job ended, once the process has; after ``patience_seconds`` it is killed."""
        try:
            code = self._process.wait(patience_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            code = self._process.wait()
        self._listener.join()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self._stderr.close()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._end is not None:
            return self._end
        if self._interrupted:
            return JobEnd(status="interrupted", error="interrupted; nothing of it is stored")
        said = f": {' / '.join(lines[-_LAST_WORDS:])}" if lines else ""
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return JobEnd(status="failed", error=f"its process got signal {-code}{hint}{said}")
        return JobEnd(status="failed", error=f"its process ended with exit code {code}{said}")

    def _listen(self, said: _Said) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, contextlib.suppress(msgspec.DecodeError):
            for line in lines:  # the last is cut off where the process was killed in it
                message = _MESSAGES.decode(line)
                if isinstance(message, JobEnd):
                    self._end = message
                else:
                    said.put((self, message))
        said.put((self, None))


@clsbench.hookimpl
def clsbench_register_executors() -> Mapping[str, type[clsbench.Executor]]:
    """Register ``local``."""
    return {"local": Local}
