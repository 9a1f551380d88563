"""Restrict the activation cache to files that the user owns and no other user can change.

The hashes in a shard detect damage on the disk. They do not protect against another user, who can
recompute them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SUPERUSER = 0
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def distrust(status: os.stat_result) -> str | None:
    """Why a file or folder with this status is not used; ``None`` if it is.

    It must belong to the user or the superuser, and other users must not be able to write to it.
    On Windows, where neither is known, all files are used.
    """
    if sys.platform == "win32":
        return None
    if status.st_uid not in (os.geteuid(), _SUPERUSER):
        return f"another user owns it (user id {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users can write to it (mode {stat.S_IMODE(status.st_mode):o})"
    return None


class Trust:
    """Decides which folders and files a run uses, and warns of the first that it does not use."""

    def __init__(self, problems: list[str]) -> None:
        """The warning is also appended to ``problems``."""
        self._problems = problems
        self._warned = False

    def in_folders(self, *folders: Path) -> bool:
        """Whether all of them may be used; folders that do not exist count as usable."""
        for folder in folders:
            with contextlib.suppress(OSError):
                if not self.in_file(folder, os.stat(folder)):
                    return False
        return True

    def in_file(self, path: Path, status: os.stat_result) -> bool:
        """Whether the file with this status may be used."""
        reason = distrust(status)
        if reason is not None and not self._warned:
            self._warned = True
            problem = (
                f"the cached activations in {path} are not used: {reason}; remove them with "
                "`clsbench cache clear`, or set the environment variable CLSBENCH_CACHE to a "
                "folder of your own"
            )
            logger.warning("%s", problem)
            self._problems.append(problem)
        return reason is None


def make_folder(folder: Path) -> None:
    """Make a folder with mode 0700; its parents are made with the usual mode.

    Raises:
        OSError: it cannot be made, or exists and is not a folder.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except OSError:
        if not folder.is_dir():
            raise


def create_file(path: Path) -> IO[bytes]:
    """Open a new file with mode 0600.

    Raises:
        OSError: it cannot be made, or exists.
    """
    return os.fdopen(os.open(path, _CREATE, _FILE_MODE), "wb")
