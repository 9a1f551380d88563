"""Folders of files that components make from others, kept in the cache.

Each is ``<cache>/converted/<digest>`` with ``about.json`` and the files in ``content``. A folder
appears complete or not at all, so several processes may make it at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from clsbench.assets.places import cache_folder
from clsbench.errors import ClsbenchError
from clsbench.schema.decoding import DecodingError, decode_json, json_text, read_bytes
from clsbench.system.unfinished import sweep, temporary_folder

_ABOUT = "about.json"
_CONTENT = "content"
_UNFINISHED = ".unfinished-"


class CachedFolder(NamedTuple):
    """A folder in the cache; ``about`` describes its content, ``last_used`` is in UTC."""

    digest: str
    about: str
    size_bytes: int
    last_used: datetime


def cached_folder(key: str, about: str, fill: Callable[[Path], None]) -> Path:
    """A folder in the cache; if it does not exist, ``fill`` writes its files into an empty folder.

    ``key`` identifies the content: the component, the hashes of the files from which it is made,
    the versions of libraries that make it. ``about`` describes it in ``clsbench cache list``;
    ``clsbench cache clear`` removes it.

    Raises:
        ClsbenchError: the folder cannot be written.
    """
    entry = _root() / hashlib.sha256(key.encode()).hexdigest()
    try:
        if not (entry / _CONTENT).is_dir():
            _make(entry, about, fill)
    except OSError as error:
        raise ClsbenchError(
            f"{entry} cannot be written: {error}; free space, or choose another folder with "
            "CLSBENCH_CACHE"
        ) from error
    with contextlib.suppress(OSError):  # a read-only cache
        os.utime(entry)
    return entry / _CONTENT


def _make(entry: Path, about: str, fill: Callable[[Path], None]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(entry.parent, _UNFINISHED) as temporary:
        made = temporary / entry.name
        (made / _CONTENT).mkdir(parents=True)
        fill(made / _CONTENT)
        (made / _ABOUT).write_text(json_text({"what": about}), encoding="utf-8")
        try:
            os.replace(made, entry)
        except OSError:
            if not (entry / _CONTENT).is_dir():  # else another process has just made it
                raise


def list_cached_folders() -> tuple[CachedFolder, ...]:
    """All folders that :func:`cached_folder` has made, most recently used first."""
    found = []
    for path in _entries():
        with contextlib.suppress(FileNotFoundError):  # removed by another process
            used = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            found.append(CachedFolder(path.name, _about(path), _size_bytes(path), used))
    return tuple(sorted(found, key=lambda folder: folder.last_used, reverse=True))


def remove_cached_folders(
    digests: Collection[str], older_than_days: float | None = None
) -> tuple[int, int]:
    """Remove the folders with these digests, or of them those not used for ``older_than_days``.

    Returns their number and the bytes freed.

    Raises:
        ClsbenchError: one could not be removed.
    """
    sweep(_root(), _UNFINISHED)
    count = freed_bytes = 0
    for folder in list_cached_folders():
        age_days = (time.time() - folder.last_used.timestamp()) / 86_400
        recent = older_than_days is not None and age_days < older_than_days
        if folder.digest not in digests or recent:
            continue
        try:
            shutil.rmtree(_root() / folder.digest)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ClsbenchError(
                f"{_root() / folder.digest} cannot be removed: {error.strerror}"
            ) from None
        count += 1
        freed_bytes += folder.size_bytes
    return count, freed_bytes


def _root() -> Path:
    return cache_folder() / "converted"


def _entries() -> list[Path]:
    try:
        return [path for path in sorted(_root().iterdir()) if (path / _CONTENT).is_dir()]
    except OSError:
        return []


def _about(path: Path) -> str:
    try:
        return decode_json(read_bytes(path / _ABOUT), dict[str, str]).get("what", "?")
    except (OSError, DecodingError):
        return "?"


def _size_bytes(path: Path) -> int:
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in files)
