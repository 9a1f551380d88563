"""A plugin that appends the time of every phase and end of a run to the file ``$TRIAL_CLOCK``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

import clsbench

FILE_VARIABLE = "TRIAL_CLOCK"
FINISHED = "finished"


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The clocks of ``process`` when a phase begins (``event`` is its name) or a run has ended."""

    event: str
    process: int
    seconds: float
    processor_seconds: float


def _append(event: str) -> None:
    moment = Moment(
        event=event,
        process=os.getpid(),
        seconds=time.perf_counter(),
        processor_seconds=time.process_time(),
    )
    with Path(os.environ[FILE_VARIABLE]).open("ab") as file:
        file.write(msgspec.json.encode(moment) + b"\n")


@clsbench.hookimpl
def clsbench_phase_started(phase: str) -> None:
    """Append the phase."""
    _append(phase)


@clsbench.hookimpl
def clsbench_run_finished(record: Any) -> None:
    """Append the end of the run, which is stored."""
    _append(FINISHED)


def read_moments(file: Path) -> list[Moment]:
    """The moments in the order in which they were appended."""
    return [msgspec.json.decode(line, type=Moment) for line in file.read_bytes().splitlines()]
