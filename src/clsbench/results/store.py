"""The store of runs: one directory per run, created atomically."""

from __future__ import annotations

import difflib
import gc
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.record_file import RECORD_FILE, created_in, decode_record, record_or_reason
from clsbench.results.suite_results import trials_not_chosen
from clsbench.schema.decoding import json_text
from clsbench.schema.record import RunRecord
from clsbench.system.filesystem import (
    concerns,
    folder_reason,
    means_full_disk,
    settle,
    storing_error,
)
from clsbench.system.unfinished import held, sweep, temporary_folder

logger = logging.getLogger(__name__)

LATEST = "latest"
"""The reference to the most recently started run that is not a trial that a tuned suite has not
chosen."""

_TEMPORARY_PREFIX = ".unfinished-"
_RUN_NAME = re.compile(r"\d{8}T\d{6}Z-")


class StoredRun(NamedTuple):
    """A run in the store: its directory and its record."""

    path: Path
    record: RunRecord


class Scan(NamedTuple):
    """The content of a store: runs in the order in which they were started; ``damaged`` has
    reasons."""

    runs: tuple[StoredRun, ...]
    damaged: tuple[tuple[Path, str], ...]


# --- writing --------------------------------------------------------------------------------------


def check_store_writable(store: Path) -> None:
    """Check that a run can be stored in ``store``; the folder itself is created by the first run.

    Raises:
        UsageError: the folder cannot be created or written.
        ClsbenchError: the disk is full.
    """
    try:
        there = next(folder for folder in (store, *store.parents) if os.path.lexists(folder))
        with temporary_folder(there, _TEMPORARY_PREFIX) as probe:
            (probe / RECORD_FILE).write_text("{}", encoding="utf-8")
    except OSError as error:
        if means_full_disk(error):
            raise storing_error(error, store) from None
        raise UsageError(
            f"runs cannot be stored in {store}: {folder_reason(error, store)}; choose another "
            "folder with --out or the environment variable CLSBENCH_RUNS"
        ) from None


def run_name(record: RunRecord) -> str:
    """The name of a run's directory: ``20251121T101729Z-gpt2-sms-spam-1a2b3c4d``.

    Raises:
        ValueError: ``record.created`` is not an ISO 8601 time.
    """
    created = datetime.fromisoformat(record.created)
    created = created.astimezone(UTC) if created.tzinfo else created
    experiment = re.sub(r"[^A-Za-z0-9._-]+", "-", record.experiment).strip("-.")[:64]
    return f"{created:%Y%m%dT%H%M%SZ}-{experiment or 'experiment'}-{record.run_key[:8]}"


@contextmanager
def run_directory(store: Path, name: str) -> Iterator[Path]:
    """A temporary directory that is renamed to ``store/name`` if the block succeeds, else removed.

    If ``name`` is used by a run or by a process that is writing one, ``name-2`` … is used; see
    :func:`final_path`.

    Raises:
        ClsbenchError: the disk is full, or the directory cannot be created or renamed.
    """
    sweep(store, _TEMPORARY_PREFIX)
    with ExitStack() as stack:
        try:
            temporary = _reserve(store, name)
            while not stack.enter_context(held(temporary)):  # another process has removed it
                temporary = _reserve(store, name)
        except OSError as error:
            raise storing_error(error, store) from error
        try:
            yield temporary
            settle(temporary)
            temporary.rename(final_path(temporary))
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if temporary.exists():
                logger.warning("the unfinished run in %s could not be removed", temporary)
            if means_full_disk(error) or concerns(error, temporary):
                raise storing_error(error, store) from error
            raise


def final_path(directory: Path) -> Path:
    """The final path of the directory that :func:`run_directory` yields."""
    return directory.with_name(directory.name.removeprefix(_TEMPORARY_PREFIX))


def run_files(directory: Path) -> dict[str, bytes]:
    """The content of all files in a run's directory, by relative path."""
    return {
        file.relative_to(directory).as_posix(): file.read_bytes()
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }


def adopt_run(store: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Store a run of another machine atomically; ``files`` are as returned by :func:`run_files`.

    Raises:
        ClsbenchError: a path leads out of the directory, the record is not usable, or the disk is
            full.
    """
    for file in (name, *files):
        parts = PurePosixPath(file).parts
        if not parts or parts[0] == "/" or ".." in parts or (file == name and len(parts) > 1):
            raise ClsbenchError(
                f"a run of another machine cannot be stored: the file name {file!r} is not allowed"
            )
    with run_directory(store, name) as directory:
        for file, content in files.items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        record = record_or_reason(directory / RECORD_FILE)
        if isinstance(record, str):
            raise ClsbenchError(f"a run of another machine cannot be stored: its record: {record}")
    return final_path(directory)


def write_record(directory: Path, record: RunRecord) -> None:
    """Write ``record.json``.

    Raises:
        ClsbenchError: the record could not be read back, for example because of a NaN.
    """
    content = json_text(record).encode()
    read_back = decode_record(content)
    if isinstance(read_back, str):
        raise ClsbenchError(
            f"the record of {record.experiment} cannot be stored: {read_back}; a value in it is "
            "not finite or has the wrong type"
        )
    (directory / RECORD_FILE).write_bytes(content)


def _reserve(store: Path, name: str) -> Path:
    """Create the temporary directory for a free name, which reserves the name."""
    store.mkdir(parents=True, exist_ok=True)
    attempt = 1
    while True:
        final = store / (name if attempt == 1 else f"{name}-{attempt}")
        temporary = final.with_name(_TEMPORARY_PREFIX + final.name)
        attempt += 1
        try:
            temporary.mkdir()
        except FileExistsError:
            continue
        # Check `final` after mkdir, since another process may have finished before it.
        if not os.path.lexists(final):
            return temporary
        with suppress(FileNotFoundError):  # removed by another process
            temporary.rmdir()


# --- reading --------------------------------------------------------------------------------------


def read_record(path: Path) -> RunRecord:
    """Read the record of the run in directory ``path``, or the record file ``path``.

    Raises:
        UsageError: the record is missing, damaged, or from an unsupported version of clsbench.
    """
    file = path / RECORD_FILE if path.is_dir() else path
    record = record_or_reason(file)
    if isinstance(record, str):
        raise UsageError(f"the record {file} cannot be used: {record}")
    return record


def scan(store: Path) -> Scan:
    """Read all records of the store; a store that does not exist has none.

    Directories that are being written and other folders are ignored. Directories that were not
    completed within an hour are listed as damaged.

    Raises:
        UsageError: the store is not a readable folder.
    """
    runs: list[StoredRun] = []
    damaged: list[tuple[Path, str]] = []
    with collector_paused():
        for path in _run_directories(store):
            record = record_or_reason(path / RECORD_FILE)
            if isinstance(record, str):
                damaged.append((path, record))
            else:
                runs.append(StoredRun(path, record))
    damaged += [(path, _ABANDONED) for path in _abandoned(store)]
    runs.sort(key=lambda run: (run.record.created, run.path.name))
    return Scan(tuple(runs), tuple(damaged))


_ABANDONED = "its process ended before it was complete; remove it"
_SECONDS_TO_STORE = 3600.0


def _abandoned(store: Path) -> list[Path]:
    """Incomplete directories of processes that no longer run."""
    latest = time.time() - _SECONDS_TO_STORE
    found = []
    for path in sorted(store.glob(f"{_TEMPORARY_PREFIX}*")):
        with suppress(OSError):  # the run has just been completed
            if path.is_dir() and path.stat().st_mtime < latest:
                found.append(path)
    return found


def finished_run(store: Path, run_key: str) -> StoredRun | None:
    """The latest finished run with this key, or ``None``."""
    found = []
    for path in store.glob(f"[!.]*-{run_key[:8]}*"):  # a store may hold thousands of other runs
        record = record_or_reason(path / RECORD_FILE)
        if (
            not isinstance(record, str)
            and record.run_key == run_key
            and record.status == "finished"
        ):
            found.append(StoredRun(path, record))
    return max(found, key=lambda run: run.record.created, default=None)


def find_run(store: Path, reference: str | Path) -> Path:
    """Find a run by its path, its directory's name, a unique prefix of the name, or ``latest``.

    Raises:
        UsageError: no run or several match.
    """
    text = os.fspath(reference)
    names = {path.name: path for path in _run_directories(store)}
    name = text.rstrip("/" + os.sep)
    if name in names:
        return names[name]
    if name == LATEST:
        return _latest(store, list(names.values()))
    path = Path(text)
    if path.name == RECORD_FILE and path.is_file():
        return path.parent
    if (path / RECORD_FILE).is_file():
        return path
    matching = [candidate for candidate in names if name and candidate.startswith(name)]
    if len(matching) == 1:
        return names[matching[0]]
    if matching:
        listed = ", ".join(matching[:8]) + (" …" if len(matching) > 8 else "")
        raise UsageError(f"run {text!r} is ambiguous in {store}: {len(matching)} match: {listed}")
    if name and path.is_dir():
        raise UsageError(f"the folder {path} is not a run: it has no {RECORD_FILE}")
    if not names:
        raise UsageError(
            f"no run {text!r}: {store} contains no runs; choose another store with --out"
        )
    if os.path.isfile(store / "suites" / f"{name}.json"):
        raise UsageError(
            f"no run {text!r} in {store}; it is a suite: clsbench report {name} shows it"
        )
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"latest runs: {_last(names)}"
    raise UsageError(f"no run {text!r} in {store}; {hint}")


def _latest(store: Path, paths: Sequence[Path]) -> Path:
    """The most recent run with a usable record that is not a trial that a tuned suite has not
    chosen; newer damaged ones are named in a warning."""
    if not paths:
        raise UsageError(f"latest: {store} contains no runs; choose another store with --out")
    trials = trials_not_chosen(store)
    newest_first = sorted(
        (path for path in paths if path.name not in trials), key=_created, reverse=True
    )
    if not newest_first:
        raise UsageError(
            f"latest: all runs in {store} are trials of tuned suites that were not chosen; name a "
            "run (clsbench results --trials lists them)"
        )
    for path in newest_first:
        record = record_or_reason(path / RECORD_FILE)
        if not isinstance(record, str):
            return path
        logger.warning("left out %s: %s", path, record)
    raise UsageError(f"latest: every record in {store} is damaged")


def _last(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[-8:])


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause garbage collection, which takes most of the time while many records are decoded."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _run_directories(store: Path) -> list[Path]:
    """The directories of runs in the store, sorted, including those without a record."""
    try:
        with os.scandir(store) as entries:
            found = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and (
                    (_RUN_NAME.match(entry.name) and not _is_not_a_folder(entry))
                    or os.path.isfile(os.path.join(entry.path, RECORD_FILE))
                )
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"the store of runs {store} cannot be read: {folder_reason(error, store)}; choose "
            "another with --out or the environment variable CLSBENCH_RUNS"
        ) from None
    return [store / name for name in sorted(found)]


def _is_not_a_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is not a folder; false if that is unknown, as for a recursive link."""
    try:
        return not entry.is_dir()
    except OSError:
        return False


def _created(path: Path) -> tuple[str, int]:
    """A sort key by start time; runs without a record come first."""
    file = path / RECORD_FILE
    try:
        return created_in(file), file.stat().st_mtime_ns
    except OSError:
        return "", 0
