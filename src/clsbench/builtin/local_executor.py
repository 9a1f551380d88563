"""The executor ``local``: processes on this machine."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

import clsbench
from clsbench.executors import Executor, Job, JobEnd, JobNote, JobProgress, Scheduler

_Messages = queue.SimpleQueue[tuple["_Worker", JobProgress | JobNote | JobEnd | None]]
_MESSAGES = msgspec.json.Decoder(JobProgress | JobNote | JobEnd)
_STDERR_LINES = 3
"""How many of the last lines on stderr an error quotes."""

_GRACE_SECONDS = 60.0
"""How long an interrupted job may take to store its partial results."""


class Local(Executor, frozen=True):
    """Processes on this machine, one per job; the trials of a tuned row share one."""

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        """Run the jobs in order, ``at_once`` (by default one) concurrently."""
        waiting = list(jobs)
        running: set[_Worker] = set()
        messages: _Messages = queue.SimpleQueue()
        try:
            while waiting or running:
                while waiting and len(running) < (at_once or 1):
                    job = _next_job(waiting, {worker.group for worker in running})
                    if scheduler.claim(job):
                        running.add(_Worker(job, messages))
                if running:
                    _handle(*messages.get(), waiting, running, scheduler)
        except BaseException:
            for worker in running:
                worker.interrupt()
            for worker in running:
                end = worker.outcome(_GRACE_SECONDS)
                if worker.job is not None:
                    scheduler.end(worker.job, end)
            raise


def _next_job(waiting: list[Job], groups: set[str]) -> Job:
    """Take the next job, if possible one of a group that no process is working on."""
    free = (place for place, job in enumerate(waiting) if not job.group or job.group not in groups)
    return waiting.pop(next(free, 0))


def _handle(
    worker: _Worker,
    message: JobProgress | JobNote | JobEnd | None,
    waiting: list[Job],
    running: set[_Worker],
    scheduler: Scheduler,
) -> None:
    """Handle a message of a worker; ``None``: its process has ended."""
    if message is None:
        running.discard(worker)
        end = worker.outcome()
        if worker.job is not None:
            scheduler.end(worker.job, end)
    elif worker.job is not None and isinstance(message, JobEnd):
        scheduler.end(worker.job, message)
        worker.job = None
        while message.status == "finished" and (job := _pop_of_group(waiting, worker.group)):
            if scheduler.claim(job):
                worker.start(job)
                return
        worker.finish()
    elif worker.job is not None and not isinstance(message, JobEnd):
        scheduler.report(worker.job, message)


def _pop_of_group(waiting: list[Job], group: str) -> Job | None:
    """Take the next job of a group."""
    places = [place for place, job in enumerate(waiting) if group and job.group == group]
    return waiting.pop(places[0]) if places else None


class _Worker:
    """A process that runs a job, and further ones of its group. It exits when this process does
    and thereby closes its stdin.

    ``job`` is ``None`` once its end is reported.
    """

    def __init__(self, job: Job, messages: _Messages) -> None:
        self.job: Job | None = None
        self.group = job.group
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
        self.start(job)

    def start(self, job: Job) -> None:
        """Start the job; a former one has ended."""
        self.job, self._end = job, None
        self._send(job)

    def finish(self) -> None:
        """Let the process exit after its job."""
        self._send(None)

    def _send(self, job: Job | None) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has died: outcome() quotes its stderr
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ask the process to store its partial results and to exit."""
        self._interrupted = True
        self._process.send_signal(signal.SIGINT)

    def outcome(self, timeout_seconds: float | None = None) -> JobEnd:
        """Wait for the process and return how the job ended; kill it after ``timeout_seconds``."""
        self.finish()
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
        with contextlib.suppress(OSError):
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
                messages.put((self, message))
        messages.put((self, None))


@clsbench.hookimpl
def clsbench_register_executors() -> Mapping[str, type[Executor]]:
    """Register ``local``."""
    return {"local": Local}
