"""Temporary files and folders that are removed even if their process was killed.

The process that writes one holds a lock on it (``flock``, which the system releases when the
process ends in any way). The next process that writes to the same place removes those that are not
locked. Without such locks (Windows, some file systems), it removes those older than a week.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WEEK_SECONDS = 7 * 24 * 3600.0


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Lock a file or folder that was just made; false if :func:`sweep` has removed it since."""
    descriptor = None
    being_removed = False
    try:
        if fcntl is not None:
            try:
                descriptor = os.open(path, os.O_RDONLY)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                being_removed = True
            except OSError:  # a file system without locks, or gone
                pass
        yield os.path.lexists(path) and not being_removed
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def temporary_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A folder in ``place``, locked while the block runs and removed afterwards.

    Raises:
        OSError: it cannot be made.
    """
    sweep(place, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        with held(folder) as there:
            if not there:
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def sweep(place: Path, prefix: str) -> None:
    """Remove files and folders in ``place`` with this ``prefix`` that no process has locked."""
    with suppress(OSError):
        for entry in list(os.scandir(place)):
            if entry.name.startswith(prefix):
                with suppress(OSError):
                    _remove_unless_held(Path(entry.path))


def _remove_unless_held(path: Path) -> None:
    if fcntl is None:
        held_elsewhere = not _is_old(path)
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
            return
        except BlockingIOError:
            held_elsewhere = True
        except OSError:  # a file system without locks
            held_elsewhere = not _is_old(path)
        finally:
            os.close(descriptor)
    if not held_elsewhere:
        _remove(path)


def _is_old(path: Path) -> bool:
    return time.time() - os.lstat(path).st_mtime > WEEK_SECONDS


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
