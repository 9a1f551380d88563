"""The files of the activation cache: list, write, evict and clear them.

Each entry is a folder with ``<folder>/<digest>/about.json`` and files
``<folder>/<digest>/<name>.safetensors`` (see :mod:`clsbench.fastpath.cache.shard`). Only the user
can read and write them. There are no locks: files appear by atomic rename, and a file that has
disappeared counts as a cache miss. Files with other names are ignored.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from clsbench.errors import ClsbenchError, UsageError, closest_match_hint
from clsbench.fastpath.cache.ownership import FOLDER_MODE, create_file, make_folder
from clsbench.fastpath.cache.shard import SUFFIX, DamagedShardError, read_header
from clsbench.schema.decoding import DecodingError, decode_json, json_text, read_bytes
from clsbench.system.filesystem import folder_reason
from clsbench.system.unfinished import held, sweep

ABOUT_FILE = "about.json"
_SECONDS = "seconds_per_position"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{32}" + re.escape(SUFFIX))
_UNFINISHED = ".unfinished-"
_PLACING_ATTEMPTS = 5


class Entry(NamedTuple):
    """The cached activations of one prefix; ``about`` is empty if its file is missing.

    ``rows`` counts the rows of files with intact headers; other files are ``damaged``.
    """

    digest: str
    about: dict[str, str]
    rows: int
    size_bytes: int
    last_used: datetime
    damaged: tuple[Path, ...] = ()


class Cleared(NamedTuple):
    """The result of :func:`clear`."""

    entries: int
    freed_bytes: int


class _File(NamedTuple):
    path: Path
    size_bytes: int
    used_ns: int


def activations_folder() -> Path:
    """The activation cache in ``CLSBENCH_CACHE``, or by default in the user's cache folder."""
    from clsbench.assets import cache_folder

    return cache_folder() / "activations"


def is_digest(text: str) -> bool:
    """Whether ``text`` can name an entry."""
    return _DIGEST.fullmatch(text) is not None


# --- list -----------------------------------------------------------------------------------------


def list_entries(directory: Path) -> tuple[Entry, ...]:
    """The entries, most recently used first; empty if ``directory`` does not exist.

    Raises:
        UsageError: ``directory`` is not a readable folder.
    """
    entries = []
    for folder in _entry_folders_or_error(directory):
        shards = shard_files(folder)
        if not shards:
            continue
        row_keys = {path: _row_keys(path) for path in shards}
        rows = set[str]().union(*(keys for keys in row_keys.values() if keys is not None))
        damaged = tuple(path for path, keys in row_keys.items() if keys is None)
        files = list(_files(folder))
        used_ns = max((file.used_ns for file in files if _is_shard(file.path)), default=0)
        size_bytes = sum(file.size_bytes for file in files)
        last_used = datetime.fromtimestamp(used_ns / 1e9, UTC)
        entries.append(
            Entry(folder.name, _about(folder), len(rows), size_bytes, last_used, damaged)
        )
    return tuple(sorted(entries, key=lambda entry: entry.last_used, reverse=True))


def shard_files(folder: Path) -> list[Path]:
    """The shards of an entry, most recently used first; empty if the folder does not exist."""
    shards = [file for file in _files(folder) if _is_shard(file.path)]
    return [file.path for file in sorted(shards, key=lambda file: -file.used_ns)]


def _row_keys(shard: Path) -> set[str] | None:
    """The keys of a shard's rows; ``None`` if its header is damaged."""
    try:
        with open(shard, "rb", buffering=0) as file:
            return set(read_header(file, shard.stem).places)
    except DamagedShardError:
        return None
    except OSError:
        return set()


def seconds_per_position(directory: Path, digest: str) -> float | None:
    """The time that computing a token position of an entry took, if its description has it."""
    try:
        seconds = float(_about(directory / digest)[_SECONDS])
    except (KeyError, ValueError):
        return None
    return seconds if 0 <= seconds < math.inf else None


def _about(folder: Path) -> dict[str, str]:
    try:
        return decode_json(read_bytes(folder / ABOUT_FILE), dict[str, str])
    except (OSError, DecodingError):
        return {}


# --- write ----------------------------------------------------------------------------------------


def place(
    directory: Path, name: Path, write: Callable[[IO[bytes]], object], durable: bool = True
) -> None:
    """Create ``directory / name`` atomically with the content that ``write`` writes.

    ``durable``: flush the file to the disk before it appears.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    make_folder(directory)
    while True:
        unfinished = directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            file = create_file(unfinished)
            with held(unfinished) as there:
                with file:
                    if not there:  # another run has removed it
                        continue
                    write(file)
                    file.flush()
                    if durable:
                        os.fsync(file.fileno())
                _rename(unfinished, directory / name)
                return
        except BaseException:
            remove(unfinished)
            raise


def _rename(unfinished: Path, final: Path) -> None:
    for attempt in range(1, _PLACING_ATTEMPTS + 1):
        # make_folder would fail if the folder is removed just after it was found.
        with contextlib.suppress(FileExistsError):
            final.parent.mkdir(mode=FOLDER_MODE)
        try:
            os.replace(unfinished, final)
            return
        except FileNotFoundError:  # the entry was cleared after mkdir
            if attempt == _PLACING_ATTEMPTS:
                raise


def try_writing(directory: Path) -> None:
    """Create a file in ``directory`` and remove it, to check that the folder is writable.

    Raises:
        OSError: no file can be created.
    """
    file = directory / f"{_UNFINISHED}{uuid.uuid4().hex}"
    try:
        file.write_bytes(b"?")
    finally:
        remove(file)


def place_about(
    directory: Path, digest: str, about: Mapping[str, str], seconds: float | None = None
) -> None:
    """Write the description of an entry unless it is there already.

    ``seconds`` is the time that computing a token position took, ``None`` to keep what is there.

    Raises:
        OSError: it cannot be written.
    """
    before = _about(directory / digest)
    cost = before.get(_SECONDS) if seconds is None else f"{seconds:.6g}"
    about = {**about, **({_SECONDS: cost} if cost is not None else {})}
    if about and before != about:
        content = json_text(about).encode()
        place(directory, Path(digest, ABOUT_FILE), lambda file: file.write(content))


# --- remove ---------------------------------------------------------------------------------------


def make_room(
    directory: Path, needed_bytes: int, limit_bytes: int, in_use: Container[Path]
) -> bool:
    """Remove the least recently used shards until ``needed_bytes`` more fit within the limit.

    Returns false and removes nothing if removing all shards that are not ``in_use`` is not enough.
    """
    files = [file for folder in _entry_folders(directory) for file in _files(folder)]
    files += _files(directory)
    excess_bytes = sum(file.size_bytes for file in files) + needed_bytes - limit_bytes
    if excess_bytes <= 0:
        return True
    shards = [file for file in files if _is_shard(file.path) and file.path not in in_use]
    if sum(file.size_bytes for file in shards) < excess_bytes:
        return False
    for file in sorted(shards, key=lambda file: (file.used_ns, file.path)):
        if excess_bytes > 0 and remove(file.path):
            excess_bytes -= file.size_bytes
            _tidy(file.path.parent)
    return excess_bytes <= 0


def sweep_unfinished(directory: Path) -> None:
    """Remove unfinished files of writers that were killed."""
    sweep(directory, _UNFINISHED)


def clear(
    directory: Path, digests: Sequence[str] = (), older_than_days: float | None = None
) -> Cleared:
    """Remove entries: all, or those with the given beginnings of ``digests``, and of these only
    entries that were not used for ``older_than_days``.

    Raises:
        UsageError: a digest matches no entry or several; ``directory`` is not a readable folder.
        ClsbenchError: a file could not be removed.
    """
    folders = _entry_folders_or_error(directory)
    if digests:
        names = [folder.name for folder in folders]
        chosen = dict.fromkeys(find_digest(digest, names, directory) for digest in digests)
        folders = [directory / name for name in chosen]
    sweep_unfinished(directory)
    entries = freed_bytes = 0
    failed: list[Path] = []
    for folder in folders:
        files = [file for file in _files(folder) if _is_shard(file.path)]
        age_seconds = time.time() - max((file.used_ns for file in files), default=0) / 1e9
        if older_than_days is not None and age_seconds < older_than_days * 86_400:
            continue
        for file in files:
            if remove(file.path):
                freed_bytes += file.size_bytes
            else:
                failed.append(file.path)
        freed_bytes += _tidy(folder)
        entries += not folder.exists()
    if failed:
        raise ClsbenchError(
            f"cannot remove {len(failed)} of the files in {directory}, such as {failed[0]}: the "
            "folder may be read-only, or (on Windows) a run uses them; all others were removed"
        )
    return Cleared(entries, freed_bytes)


def remove(path: Path) -> bool:
    """Remove the file; whether it no longer exists."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _tidy(folder: Path) -> int:
    """Remove the folder of an entry without shards; the number of bytes freed."""
    files = list(_files(folder))
    if any(_is_shard(file.path) for file in files):
        return 0
    freed_bytes = sum(file.size_bytes for file in files if remove(file.path))
    with contextlib.suppress(OSError):  # it contains new or foreign files
        folder.rmdir()
    return freed_bytes


def entry_digests(directory: Path) -> list[str]:
    """The digests of all entries.

    Raises:
        UsageError: ``directory`` is not a readable folder.
    """
    return [folder.name for folder in _entry_folders_or_error(directory)]


def find_digest(beginning: str, digests: Sequence[str], place: Path) -> str:
    """The only one of the ``digests`` with this beginning; ``place`` is for errors.

    Raises:
        UsageError: none or several have it.
    """
    matching = [each for each in digests if beginning and each.startswith(beginning.lower())]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(each[: len(beginning) + 6] for each in matching)
        raise UsageError(f"digest {beginning!r} is ambiguous: it matches {len(matching)}: {names}")
    hint = closest_match_hint(beginning, [each[:12] for each in digests])
    raise UsageError(f"no entry {beginning!r} in {place}{hint or ', which is empty'}")


# --- read -----------------------------------------------------------------------------------------


def _entry_folders(directory: Path) -> list[Path]:
    """The folders of entries; empty if the directory cannot be read."""
    with contextlib.suppress(OSError):
        return _read_entry_folders(directory)
    return []


def _entry_folders_or_error(directory: Path) -> list[Path]:
    try:
        return _read_entry_folders(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(
            f"the cached activations in {directory} cannot be read: "
            f"{folder_reason(error, directory)}; set the environment variable CLSBENCH_CACHE to "
            "another folder"
        ) from None


def _read_entry_folders(directory: Path) -> list[Path]:
    with os.scandir(directory) as found:
        names = [e.name for e in found if is_digest(e.name) and e.is_dir(follow_symlinks=False)]
    return [directory / name for name in sorted(names)]


def _files(folder: Path) -> Iterator[_File]:
    """The cache's files in a folder; empty if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            if not _is_ours(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                # os.stat, because on Windows entry.stat() may be outdated.
                status = os.stat(entry.path, follow_symlinks=False)
                if not stat.S_ISFIFO(status.st_mode):  # opening one may block
                    yield _File(folder / entry.name, status.st_size, status.st_mtime_ns)


def _is_ours(name: str) -> bool:
    return name == ABOUT_FILE or name.startswith(_UNFINISHED) or _SHARD.fullmatch(name) is not None


def _is_shard(path: Path) -> bool:
    return path.suffix == SUFFIX
