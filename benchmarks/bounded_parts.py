"""Run parts of a long measurement one after the other, each in a child process with a time limit.

Results are written as they come: a part that fails, hangs or is interrupted loses neither its own
earlier results nor those of the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from clsbench.system.filesystem import replace_text

NOT_STARTED, RUNNING, FINISHED = "not started", "running", "finished"
FAILED, ENDED, INTERRUPTED, SKIPPED = "failed", "ended at its limit", "interrupted", "skipped"
_KEPT_OUTPUT = 100_000
_KILL_SECONDS = 10.0
"""How long to wait for a killed process; a driver can hold it in a system call."""


class Part(NamedTuple):
    """A part: a command that writes its results so far to the file that is its last argument."""

    name: str
    about: str
    command: tuple[str, ...]
    limit_seconds: float


class PartReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a part did: its ``status``, the end of its ``output``, and its ``result`` so far.

    ``conditions`` describes machine and versions; results under other conditions do not belong
    together.
    """

    name: str
    about: str
    status: str
    limit_seconds: float
    seconds: float = 0.0
    reason: str = ""
    output: str = ""
    result: Any = None
    date: str = ""
    conditions: str = ""


class OtherConditionsError(Exception):
    """Results in a folder do not belong together with those to come."""


OnChange = Callable[[Sequence[PartReport]], None]
"""Receives the reports of all parts whenever one has changed."""


def run_parts(
    parts: Sequence[Part],
    folder: Path,
    seconds: float,
    on_change: OnChange,
    conditions: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> list[PartReport]:
    """Run the parts in order within ``seconds``; write the report of each to ``NAME.json``.

    The limit of a part is lowered to the time that is left; parts after that are skipped.

    Raises:
        KeyboardInterrupt: after the report of the interrupted part has been written.
    """
    deadline = clock() + seconds
    reports = [
        PartReport(
            name=part.name,
            about=part.about,
            status=NOT_STARTED,
            limit_seconds=part.limit_seconds,
            conditions=conditions,
        )
        for part in parts
    ]
    for place, part in enumerate(parts):
        limit_seconds = min(part.limit_seconds, deadline - clock())
        if limit_seconds <= 0:
            reason = f"the {seconds:.0f} s for all parts are over"
            reports[place] = msgspec.structs.replace(reports[place], status=SKIPPED, reason=reason)
            on_change(reports)
            continue
        reports[place] = msgspec.structs.replace(
            reports[place], status=RUNNING, limit_seconds=limit_seconds
        )
        try:
            on_change(reports)
            reports[place] = run_part(
                part._replace(limit_seconds=limit_seconds), folder, conditions
            )
        except KeyboardInterrupt:  # before or after the part's process
            reports[place] = msgspec.structs.replace(reports[place], status=INTERRUPTED)
        write_json(folder / f"{part.name}.json", reports[place])
        on_change(reports)
        if reports[place].status == INTERRUPTED:
            raise KeyboardInterrupt
    return reports


def run_part(part: Part, folder: Path, conditions: str = "") -> PartReport:
    """Run one part until it ends, its limit is reached, or this process is interrupted."""
    written, log = folder / f"{part.name}.partial.json", folder / f"{part.name}.log"
    written.unlink(missing_ok=True)  # left by an earlier run that was killed
    started, date = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    status, reason = FINISHED, ""
    with log.open("wb") as output:
        # A process group of its own, so that its own child processes end with it.
        process = subprocess.Popen(
            [*part.command, str(written)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(part.limit_seconds)
            if code != 0:
                status, reason = FAILED, _meaning_of(code)
        except subprocess.TimeoutExpired:
            status, reason = ENDED, f"not finished after {part.limit_seconds:.0f} s"
        except KeyboardInterrupt:
            status, reason = INTERRUPTED, "interrupted"
        finally:
            # Also what a part that was killed has left running.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILL_SECONDS)
    result = msgspec.json.decode(written.read_bytes()) if written.exists() else None
    said = log.read_bytes()[-_KEPT_OUTPUT:].decode("utf-8", "replace")
    written.unlink(missing_ok=True)
    log.unlink()
    return PartReport(
        name=part.name,
        about=part.about,
        status=status,
        limit_seconds=part.limit_seconds,
        seconds=time.monotonic() - started,
        reason=reason,
        output=said,
        result=result,
        date=date,
        conditions=conditions,
    )


def earlier_report(part: Part, folder: Path, conditions: str) -> PartReport | None:
    """What an earlier command under the same conditions has written on a part.

    Raises:
        OtherConditionsError: the conditions differ, or cannot be read.
    """
    file = folder / f"{part.name}.json"
    if not file.exists():
        return None
    try:
        report = msgspec.json.decode(file.read_bytes(), type=PartReport)
    except msgspec.DecodeError as error:
        raise OtherConditionsError(f"{file} cannot be read: {error}") from None
    if report.conditions != conditions:
        there = report.conditions or "not recorded"
        raise OtherConditionsError(
            f"{file} is of other conditions:\n  there: {there}\n  now:   {conditions}"
        )
    return report


def failure(error: Exception) -> str:
    """A line on an error that must not end the measurements to come; its traceback goes to the
    output."""
    traceback.print_exception(error)
    said = [line for line in str(error).splitlines() if line.strip()]
    return f"failed: {type(error).__name__}: {said[0] if said else ''}"[:400]


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON; the file is complete at any moment."""
    replace_text(file, msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


def _meaning_of(code: int) -> str:
    if code == -signal.SIGKILL:
        return "ended by SIGKILL, as the system does when the host's memory is used up"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"
