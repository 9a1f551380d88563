"""Check the files of a stored run against the SHA-256 hashes in its record."""

from __future__ import annotations

import hashlib
from pathlib import Path

from clsbench.errors import UsageError
from clsbench.schema.record import RunRecord


def files_sha256(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file in ``directory``, by name.

    Raises:
        OSError: one cannot be read.
    """
    return {file.name: _sha256(file) for file in sorted(directory.iterdir()) if file.is_file()}


def check_file(run: Path, name: str, record: RunRecord) -> None:
    """Check that a file in the directory ``run`` has the content that was stored.

    Runs of older versions have no hashes and pass; their content is checked when it is read.

    Raises:
        UsageError: the file is missing, unreadable, or has changed.
    """
    if name not in record.files_sha256:
        return
    try:
        found = _sha256(run / name)
    except FileNotFoundError:
        raise UsageError(f"{name} is missing from the run {run.name}") from None
    except OSError as error:
        raise UsageError(f"{run / name} cannot be read: {error.strerror}") from None
    if found != record.files_sha256[name]:
        raise UsageError(
            f"{run / name} is damaged: its content has changed since the run stored it (SHA-256 "
            f"{found[:8]}…, in the record {record.files_sha256[name][:8]}…)"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
