"""Whose files the cache of activations believes: the user's own, which no other user can change.

The hashes in a shard find what a disk damages. They are no proof against another user, who can
compute them again.
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
    """Why a file or folder with this status is not used, or ``None``.

    It must belong to the user or to the superuser, and its mode must let no other user write.
    On Windows, where neither is known, everything is used.
    """
    if sys.platform == "win32":
        return None
    if status.st_uid not in (os.geteuid(), _SUPERUSER):
        return f"another user owns it (user id {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    return None


class Trust:
    """Which folders and files a run uses; the first that it does not is named in a warning."""

    def __init__(self, problems: list[str]) -> None:
        """``problems`` gets what was said."""
        self._problems = problems
        self._told = False

    def in_folders(self, *folders: Path) -> bool:
        """Whether all of them may be used; one that does not exist yet will be made."""
        for folder in folders:
            with contextlib.suppress(OSError):
                if not self.in_file(folder, os.stat(folder)):
                    return False
        return True

    def in_file(self, path: Path, status: os.stat_result) -> bool:
        """Whether the file with this status may be used."""
        reason = distrust(status)
        if reason is not None and not self._told:
            self._told = True
            problem = (
                f"the kept activations in {path} are not used: {reason}; remove them with "
                "`clsbench cache clear`, or name a folder of your own in the environment variable "
                "CLSBENCH_CACHE"
            )
            logger.warning("%s", problem)
            self._problems.append(problem)
        return reason is None


def make_folder(folder: Path) -> None:
    """Make a folder that only the user can read and write, whatever the umask; folders above it
    are made as usual.

    Raises:
        OSError: it cannot be made, or is there and no folder.
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
    """Open a new file that only the user can read and write, whatever the umask.

    Raises:
        OSError: it cannot be made.
    """
    return os.fdopen(os.open(path, _CREATE, _FILE_MODE), "wb")
