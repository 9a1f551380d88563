"""Runs jobs; an executor calls these functions in a process of its own.

``python -m clsbench.suites.worker`` reads jobs from stdin as JSON, one per line, and writes the
messages of each to stdout, one JSON object per line, its end last. It exits after ``null``, after a
job that was interrupted, and when its stdin is closed.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from clsbench.components.catalog import load_catalog
from clsbench.components.hookspecs import hookimpl
from clsbench.components.resolve import resolve
from clsbench.components.values import RunPlan, StepReport
from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.store import adopt_run, run_files
from clsbench.schema.experiment import from_tree
from clsbench.schema.job import Job, JobEnd, JobNote, JobProgress, JobResult, OnMessage
from clsbench.schema.options import options_from
from clsbench.system.signals import deferring_interrupts
from clsbench.system.unfinished import temporary_folder

if TYPE_CHECKING:
    from clsbench.experiment.sharing import SharedWork

_SECONDS_BETWEEN_MESSAGES = 0.2


def run_job(job: Job, on_message: OnMessage, shared: SharedWork | None = None) -> JobEnd:
    """Run the job's experiment and save it in the job's store; errors are returned in the end.

    ``on_message`` is called with the progress a few times a second, and with every warning.
    ``shared`` holds work of earlier jobs of the same group in this process.
    """
    handler = _Notes(on_message)
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        from clsbench.experiment.run import run_experiment

        options = options_from(job.options)
        plugins = options.plugins
        catalog = load_catalog(plugins) if shared is None else shared.catalog(plugins)
        experiment = resolve(from_tree(job.spec, "the job"), {}, catalog)
        run = run_experiment(experiment, options, catalog, (_Progress(on_message),), shared=shared)
    except KeyboardInterrupt as interruption:
        return JobEnd(status="interrupted", error=str(interruption) or "interrupted by the user")
    except ClsbenchError as error:
        return JobEnd(status="failed", error=str(error))
    except Exception as error:  # a failed row must not stop the others
        return JobEnd(status="failed", error=f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(handler)
    return JobEnd(
        status=run.record.status,  # type: ignore[arg-type]  # it is not "planned" any more
        run=run.path.name if run.path is not None else None,
        error=run.record.error,
    )


def portable_job(job: Job) -> Job:
    """The job with the content of its plugin files, for a machine that does not have them.

    Data, weights and installed plugins are not included: the machine must have them.

    Raises:
        UsageError: a plugin file cannot be read.
    """
    files = {}
    for name in job.options["plugins"]:
        if Path(name).is_file():
            try:
                files[name] = Path(name).read_bytes()
            except OSError as error:
                raise UsageError(f"plugin {name} cannot be read: {error.strerror}") from None
    return msgspec.structs.replace(job, plugin_files=files)


def run_job_remote(job: Job, on_message: OnMessage) -> JobResult:
    """Like :func:`run_job` on a machine without the job's store: return the files to be stored.

    Pass it a :func:`portable_job`, and pass its result to :func:`store_result` on the machine that
    has the store. All other paths in the job are used unchanged: the assets folder and the user's
    data files must have the same paths here (assets are fetched if no folder is given).
    """
    with temporary_folder(Path(tempfile.gettempdir()), "clsbench-job-") as folder:
        store = folder / "runs"
        moved = {}
        for number, (name, content) in enumerate(job.plugin_files.items()):
            # The file keeps its name: the record identifies a plugin by name and content.
            file = folder / f"plugin-{number}" / Path(name).name
            file.parent.mkdir()
            file.write_bytes(content)
            moved[name] = str(file)
        plugins = [moved.get(name, name) for name in job.options["plugins"]]
        options = {**job.options, "out": str(store), "plugins": plugins}
        end = run_job(msgspec.structs.replace(job, options=options), on_message)
        with deferring_interrupts():
            return JobResult(end=end, files=run_files(store / end.run) if end.run else {})


def store_result(job: Job, result: JobResult) -> JobEnd:
    """Save the result of :func:`run_job_remote` in the job's store, completely or not at all.

    The returned end has the run's name in the store; if saving fails, its status is ``failed``.
    """
    end = result.end
    if end.run is None:
        return end
    try:
        with deferring_interrupts():
            path = adopt_run(Path(job.options["out"]), end.run, result.files)
    except ClsbenchError as error:
        return JobEnd(status="failed", error=str(error))
    return msgspec.structs.replace(end, run=path.name)


class _Progress:
    """An observer that reports the run's progress a few times a second."""

    def __init__(self, on_message: OnMessage, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_message = on_message
        self._clock = clock
        self._last = float("-inf")
        self._steps = 0

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Remember the number of steps."""
        self._steps = plan.steps

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Report the phase."""
        self._say(JobProgress(phase=phase), at_once=True)

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Report the progress of the prefix."""
        self._say(JobProgress(phase="prefix", done=done, total=total))

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Report the progress of training."""
        self._say(JobProgress(phase="training", done=report.step + 1, total=self._steps))

    def _say(self, message: JobProgress, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self._last >= _SECONDS_BETWEEN_MESSAGES:
            self._last = now
            self._on_message(message)


class _Notes(logging.Handler):
    """Reports warnings."""

    def __init__(self, on_message: OnMessage) -> None:
        super().__init__(logging.WARNING)
        self._on_message = on_message

    def emit(self, record: logging.LogRecord) -> None:
        self._on_message(JobNote(text=record.getMessage().partition("\n")[0]))


def main(source: IO[bytes], sink: IO[bytes]) -> None:
    """Run the jobs of ``source`` one after another; write their messages to ``sink``."""
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(source, jobs), daemon=True).start()
    lock = threading.Lock()

    def write(message: msgspec.Struct) -> None:
        with lock:
            sink.write(msgspec.json.encode(message) + b"\n")
            sink.flush()

    shared: SharedWork | None = None
    while (job := jobs.get()) is not None:
        if job.group and shared is None:
            from clsbench.experiment.sharing import SharedWork as Shared

            shared = Shared()
        end = run_job(job, write, shared)
        write(end)
        if end.status == "interrupted":
            return


def _read_jobs(source: IO[bytes], jobs: queue.SimpleQueue[Job | None]) -> None:
    for line in source:
        job = msgspec.json.decode(line, type=Job | None)
        jobs.put(job)
        if job is None:
            return
    os._exit(1)  # the parent process has ended


if __name__ == "__main__":
    # A shell without job control starts background processes with interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a plugin must not mix with the messages
    main(sys.stdin.buffer, messages)
