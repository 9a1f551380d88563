"""A job done: what an executor calls wherever it has a process for it.

``python -m clsbench.suites.worker`` reads one from stdin as JSON and writes its messages to stdout,
one JSON object a line, the end last. It ends when the other end of its stdin is closed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from clsbench.components.catalog import load_catalog
from clsbench.components.hookspecs import hookimpl
from clsbench.components.resolve import resolve
from clsbench.components.values import RunPlan, StepReport
from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.store import adopt_run, run_files
from clsbench.schema.experiment import from_tree
from clsbench.schema.job import Job, JobEnd, JobNote, JobProgress, JobResult, Tell
from clsbench.schema.options import options_from
from clsbench.system.environment import deferring_interrupts
from clsbench.system.unfinished import temporary_folder

_SECONDS_BETWEEN_MESSAGES = 0.2


def perform_job(job: Job, tell: Tell) -> JobEnd:
    """Run the job's experiment into its store; whatever goes wrong is told by the end.

    ``tell`` hears of progress a few times a second, and of every warning.
    """
    handler = _Notes(tell)
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        from clsbench.experiment.run import run_experiment

        options = options_from(job.options)
        catalog = load_catalog(options.plugins)
        experiment = resolve(from_tree(job.spec, "the job"), {}, catalog)
        run = run_experiment(experiment, options, catalog, (_Progress(tell),))
    except KeyboardInterrupt as interruption:
        return JobEnd(status="interrupted", error=str(interruption) or "interrupted by the user")
    except ClsbenchError as error:
        return JobEnd(status="failed", error=str(error))
    except Exception as error:  # a row that fails leaves the others alone
        return JobEnd(status="failed", error=f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(handler)
    return JobEnd(
        status=run.record.status,  # type: ignore[arg-type]  # planned it is no longer
        run=run.path.name if run.path is not None else None,
        error=run.record.error,
    )


def portable_job(job: Job) -> Job:
    """The job with the content of its plugin files, for a machine that does not have them.

    Data, weights and plugins that are installed are not carried: those the machine needs itself.

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


def perform_job_away(job: Job, tell: Tell) -> JobResult:
    """:func:`perform_job` where the job's store is out of reach: what it stores comes back.

    Hand it a :func:`portable_job`, and its result to :func:`store_result` where the store is.
    Every other path in the job is taken as it is: the assets folder and files of the user's own
    must lie in the same place here (assets are fetched where none are given).
    """
    with temporary_folder(Path(tempfile.gettempdir()), "clsbench-job-") as folder:
        store = folder / "runs"
        moved = {}
        for number, (name, content) in enumerate(job.plugin_files.items()):
            # Under its own name: by that and its content the record knows a plugin.
            file = folder / f"plugin-{number}" / Path(name).name
            file.parent.mkdir()
            file.write_bytes(content)
            moved[name] = str(file)
        plugins = [moved.get(name, name) for name in job.options["plugins"]]
        options = {**job.options, "out": str(store), "plugins": plugins}
        end = perform_job(msgspec.structs.replace(job, options=options), tell)
        with deferring_interrupts():
            return JobResult(end=end, files=run_files(store / end.run) if end.run else {})


def store_result(job: Job, result: JobResult) -> JobEnd:
    """Put what :func:`perform_job_away` brings into the job's store, whole or not at all.

    The end names the run as it is called there; where it cannot be stored it is a failure.
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
    """An observer that tells where the run is, not too often."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._last = float("-inf")
        self._steps = 0

    @hookimpl
    def clsbench_run_started(self, plan: RunPlan) -> None:
        """Note how much there is to do."""
        self._steps = plan.steps

    @hookimpl
    def clsbench_phase_started(self, phase: str) -> None:
        """Tell the phase."""
        self._say(JobProgress(phase=phase), at_once=True)

    @hookimpl
    def clsbench_prefix_progressed(self, done: int, total: int) -> None:
        """Tell how far the prefix is."""
        self._say(JobProgress(phase="prefix", done=done, total=total))

    @hookimpl
    def clsbench_step_finished(self, report: StepReport) -> None:
        """Tell how far training is."""
        self._say(JobProgress(phase="training", done=report.step + 1, total=self._steps))

    def _say(self, message: JobProgress, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self._last >= _SECONDS_BETWEEN_MESSAGES:
            self._last = now
            self._tell(message)


class _Notes(logging.Handler):
    """Hands warnings on."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._to = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._to(JobNote(text=record.getMessage().partition("\n")[0]))


def main(source: IO[bytes], sink: IO[bytes]) -> None:
    """Do the job that stands in the first line of ``source``."""
    job = msgspec.json.decode(source.readline(), type=Job)
    threading.Thread(target=_die_with, args=(source,), daemon=True).start()
    lock = threading.Lock()

    def write(message: msgspec.Struct) -> None:
        with lock:
            sink.write(msgspec.json.encode(message) + b"\n")
            sink.flush()

    write(perform_job(job, write))


def _die_with(source: IO[bytes]) -> None:
    source.read()
    os._exit(1)  # nobody is there any more to hear of it


if __name__ == "__main__":
    # A shell without job control starts what is in the background with interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no message
    main(sys.stdin.buffer, messages)
