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
from clsbench.executors import Executor, Job, JobEnd, JobNote, JobProgress, Scheduler

_Messages = queue.SimpleQueue[tuple["_Worker", JobProgress | JobNote | None]]
_MESSAGES = msgspec.json.Decoder(JobProgress | JobNote | JobEnd)
_STDERR_LINES = 3
"""How many of the last lines on stderr an error quotes."""

_GRACE_SECONDS = 60.0
"""How long an interrupted job may take to store its partial results."""


class Local(Executor, frozen=True):
    """Processes on this machine, one per job."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        """Run the jobs in order, ``at_once`` (by default one) concurrently."""
        waiting = deque(jobs)
        running: set[_Worker] = set()
        messages: _Messages = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or 1):
                    job = waiting.popleft()
                    if scheduler.claim(job):
                        running.add(_Worker(job, messages))
                if running:
                    worker, message = messages.get()
                    if message is None:
                        running.discard(worker)
                        scheduler.end(worker.job, worker.outcome())
                    else:
                        scheduler.report(worker.job, message)
        except BaseException:
            for worker in running:
                worker.interrupt()
            for worker in running:
                scheduler.end(worker.job, worker.outcome(_GRACE_SECONDS))
            raise


class _Worker:
    """A process that runs one job; it exits when this process does and thereby closes its stdin."""

    def __init__(self, job: Job, messages: _Messages) -> None:
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
        self._listener = threading.Thread(target=self._listen, args=(messages,), daemon=True)
        self._listener.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: outcome() quotes its stderr
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ask the process to store its partial results and to exit."""
        self._interrupted = True
        self._process.send_signal(signal.SIGINT)

    def outcome(self, timeout_seconds: float | None = None) -> JobEnd:
        """Wait for the process and return how the job ended; kill it after ``timeout_seconds``."""
        try:
            code = self._process.wait(timeout_seconds)
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
            return JobEnd(status="interrupted", error="interrupted; nothing was stored")
        stderr = f": {' / '.join(lines[-_STDERR_LINES:])}" if lines else ""
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return JobEnd(status="failed", error=f"its process got signal {-code}{hint}{stderr}")
        return JobEnd(status="failed", error=f"its process ended with exit code {code}{stderr}")

    def _listen(self, messages: _Messages) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, contextlib.suppress(msgspec.DecodeError):
            for line in lines:  # the last may be cut off if the process was killed
                message = _MESSAGES.decode(line)
                if isinstance(message, JobEnd):
                    self._end = message
                else:
                    messages.put((self, message))
        messages.put((self, None))


@clsbench.hookimpl
def clsbench_register_executors() -> Mapping[str, type[Executor]]:
    """Register ``local``."""
    return {"local": Local}
