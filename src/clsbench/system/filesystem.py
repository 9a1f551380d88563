"""Write files atomically; messages for file system errors when storing a run."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsbench.errors import ClsbenchError
from clsbench.system.unfinished import temporary_folder

OF_ALL_USERS = 0o666
"""The mode of a lock's file: a store may be several people's."""

_TEMPORARY_PREFIX = ".clsbench-unfinished-"
_OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def means_full_disk(error: BaseException) -> bool:
    """Whether ``error`` says that no more can be written (disk, quota or file size limit)."""
    if isinstance(error, OSError):
        return error.errno in _FULL_DISK
    # safetensors reports what its Rust code met as a text.
    return isinstance(error, Exception) and any(
        f"(os error {number})" in str(error) for number in _FULL_DISK
    )


def concerns(error: BaseException, directory: Path) -> bool:
    """Whether ``error`` comes from the file system and names something in ``directory``."""
    if not isinstance(error, OSError) or error.filename is None:
        return False
    return Path(os.fsdecode(error.filename)).is_relative_to(directory)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces ``file`` when the block ends without an error.

    After an interruption ``file`` is unchanged. A device or a pipe is written directly.

    Raises:
        OSError: the file cannot be written, or it is an open file named by its descriptor, such as
            ``/dev/stdout`` redirected to a file.
    """
    if file.exists() and not file.is_file():
        yield file
        return
    if os.path.abspath(file).startswith(_OPEN_FILES):
        reason = "it leads to a file that is already open; name that file instead"
        raise OSError(errno.EBUSY, reason, str(file))
    target = Path(os.path.realpath(file))
    with temporary_folder(target.parent, _TEMPORARY_PREFIX) as folder:
        temporary = folder / file.name  # its extension, not that of a link's target
        yield temporary
        give_usual_mode(temporary)
        os.replace(temporary, target)


def replace_text(file: Path, text: str) -> None:
    """Write a text file by :func:`replacing`.

    Raises:
        OSError: the file cannot be written.
    """
    with (
        replacing(file) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as opened,
    ):
        opened.write(text)


def give_usual_mode(file: Path) -> None:
    """Give a file the mode that the umask allows.

    Temporary files, and those of safetensors, are created with mode 0600. On file systems without
    modes the file is left as it is.
    """
    umask = os.umask(0o022)
    os.umask(umask)
    with suppress(PermissionError):
        file.chmod(0o666 & ~umask)


def settle(directory: Path) -> None:
    """Give every file below ``directory`` the usual mode and flush it to the disk.

    Raises:
        OSError: a delayed write error.
    """
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            give_usual_mode(file)
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def storing_error(error: BaseException, store: Path) -> ClsbenchError:
    """The message for a run that could not be stored."""
    if means_full_disk(error):
        return ClsbenchError(
            f"the disk is full: the run could not be stored in {store}, and partial files were "
            "removed; free space or select a folder on another disk with --out"
        )
    return ClsbenchError(
        f"the run could not be stored in {store}: {error}; partial files were removed"
    )


def folder_reason(error: OSError, folder: Path) -> str:
    """Why ``folder`` cannot be used: a file in the way is named, else what the system says."""
    for part in (folder, *folder.parents):
        if os.path.lexists(part):
            if not part.is_dir():
                return f"{part} is not a folder"
            break
    return (error.strerror or str(error)).lower()
