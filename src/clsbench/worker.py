"""A job done: what an executor calls wherever it has a process for it.

``python -m clsbench.worker`` does one that stands on stdin as JSON, and writes what it has to say
on stdout, a line of JSON each, the end last. It dies with whoever holds the other end of its stdin.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

import msgspec

from clsbench.catalog import load_catalog
from clsbench.errors import ClsbenchError
from clsbench.hookspecs import hookimpl
from clsbench.jobs import Job, JobEnd, JobNote, JobProgress, Tell
from clsbench.options import options_from
from clsbench.resolve import resolve
from clsbench.spec import from_tree
from clsbench.values import RunPlan, StepReport

_SECONDS_BETWEEN_MESSAGES = 0.2


def perform_job(job: Job, tell: Tell) -> JobEnd:
    """Run the job's experiment into its store; whatever goes wrong is told by the end.

    ``tell`` hears of progress a few times a second, and of every warning.
    """
    handler = _Notes(tell)
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        from clsbench.experiment import run_experiment

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
    status = run.record.status
    return JobEnd(
        status="interrupted" if status == "interrupted" else status,  # type: ignore[arg-type]
        run=run.path.name if run.path is not None else None,
        error=run.record.error,
    )


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
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no message
    main(sys.stdin.buffer, messages)
