"""Activations of a frozen prefix on disk: those that outlive the run are checked, those that do not
are gone with it; all are mapped instead of read."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import uuid
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import torch
from torch import Tensor

from clsbench.fastpath.cache import cache_files
from clsbench.fastpath.cache.ownership import Trust, make_folder
from clsbench.fastpath.cache.shard import (
    SUFFIX,
    DamagedShardError,
    Header,
    RowBytes,
    intact_rows,
    read_header,
    seal,
)
from clsbench.schema.options import size_text
from clsbench.system.filesystem import folder_reason, means_full_disk
from clsbench.system.unfinished import temporary_folder

logger = logging.getLogger(__name__)

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16}
_SPILL_PREFIX = ".clsbench-activations-"
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class PrefixKey(NamedTuple):
    """Everything that fixes the activations of a token row.

    ``digest`` (a SHA-256 in hexadecimal) is over the prefix's weights, the cut, the padded length,
    the mask, the dtype, the device's kind and the versions of the components. ``about`` is
    for people: ``clsbench cache list`` shows some of its keys.
    """

    digest: str
    about: dict[str, str]


class DiskCache:
    """Keeps rows of activations, by key, in a directory that many runs may use at once.

    Make one for a run: what it stored or loaded is not evicted to make room for more. It never
    fails: what cannot be read is not found, what cannot be written is not kept.

    It returns exactly what a run of this user stored: a row with a wrong hash is not used, nor is a
    file or folder that another user owns or can write to (see
    :mod:`clsbench.fastpath.cache.ownership`).
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory.absolute()
        self.limit_bytes = limit_bytes
        self._in_use: set[Path] = set()
        self._opened = False
        self._tried = self._unwritable = False
        self.problems: list[str] = []
        """What was told of what cannot be kept."""
        self._trust = Trust(self.problems)

    def room_bytes(self) -> int:
        """The limit, or 0 if the folder cannot be written to or is not trusted; tested once."""
        if not self._tried:
            self._tried = True
            try:
                make_folder(self._directory)
                cache_files.try_writing(self._directory)
                self._unwritable = not self._trust.in_folders(self._directory)
            except OSError as error:
                self._give_up(error)
        return 0 if self._unwritable else self.limit_bytes

    def load(self, key: PrefixKey, row_keys: Sequence[str]) -> dict[str, Tensor]:
        """The rows that are kept and intact: (L, H) or (H,) on the CPU, mapped from the disk.

        Every row that is returned was read once and checked. Ask for all that a run needs in one
        call: each call reads the headers anew. What is damaged is removed from the disk. Changing
        such a tensor in place changes a private copy of it, and nothing on the disk.

        Raises:
            ValueError: ``key.digest`` is no SHA-256.
        """
        self._open()
        found: dict[str, Tensor] = {}
        wanted = set(row_keys)
        folder = self._directory / _checked(key)
        if not self._trust.in_folders(self._directory, folder):
            return {}
        for path in cache_files.shard_files(folder):
            if not wanted:
                break
            rows = self._load_shard(path, key, wanted)
            found.update(rows)
            wanted -= rows.keys()
        if found:
            with contextlib.suppress(OSError):  # the rows are there all the same
                cache_files.place_about(self._directory, key.digest, key.about)
        return {row_key: found[row_key] for row_key in row_keys if row_key in found}

    def store(self, key: PrefixKey, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep the rows (L, H) or (H,) in a file of their own, about 64 MB at a time.

        Returns the same rows, mapped from the disk; ``{}`` if they cannot be kept: the limit, a
        full disk, a folder that cannot be written. A warning says so once.

        Raises:
            ValueError: a row is not of a dtype or shape that is kept, or ``key.digest`` is no
                SHA-256.
        """
        _checked(key)
        if not rows or self._unwritable:
            return {}
        if not self._trust.in_folders(self._directory, self._directory / key.digest):
            return {}
        data = {row_key: _row_bytes(row_key, row) for row_key, row in rows.items()}
        self._open()
        # Hashing takes far longer than looking whether there is room at all.
        if not self._make_room(sum(row.data.nbytes for row in data.values())):
            return {}
        shard = seal(key.digest, data)
        if not self._make_room(shard.header.size_bytes):
            return {}
        name = Path(key.digest, shard.name + SUFFIX)
        path = self._directory / name
        try:
            cache_files.place_about(self._directory, key.digest, key.about)
            cache_files.place(self._directory, name, shard.write)
        except OSError as error:
            if isinstance(error, PermissionError) and path.exists():
                # Windows: another run has stored the very same and uses it.
                return self.load(key, list(rows))
            self._give_up(error)
            return {}
        return self._map(path, shard.header, rows)

    def _open(self) -> None:
        """Remove, once, what was left behind and what is beyond the limit."""
        if not self._opened:
            self._opened = True
            cache_files.sweep_unfinished(self._directory)
            cache_files.make_room(self._directory, 0, self.limit_bytes, self._in_use)

    def _give_up(self, error: OSError) -> None:
        self._unwritable = True
        full = means_full_disk(error)
        self._warn("the disk is full" if full else folder_reason(error, self._directory))

    def _make_room(self, needed_bytes: int) -> bool:
        if cache_files.make_room(self._directory, needed_bytes, self.limit_bytes, self._in_use):
            return True
        self._warn(_limit_reached(self.limit_bytes))
        return False

    def _load_shard(self, path: Path, key: PrefixKey, wanted: set[str]) -> dict[str, Tensor]:
        try:
            with open(path, "rb", buffering=0) as file:
                if not self._trust.in_file(path, os.fstat(file.fileno())):
                    return {}
                header = read_header(file, path.stem)
                if header.digest != key.digest:
                    raise DamagedShardError("it belongs to another prefix")
                there = wanted & header.places.keys()
                intact = set(intact_rows(file, header, there))
        except DamagedShardError as error:
            self._drop(path, str(error))
            return {}
        except OSError as error:  # evicted by another run, or not to be read just now
            logger.info("kept activations in %s cannot be read: %s", path, error.strerror)
            return {}
        rows = self._map(path, header, intact)
        if damaged := len(there) - len(intact):
            good = f"; {len(intact)} others are intact" if intact else ""
            if self._drop(path, f"{damaged} of the rows in it are not what was written{good}"):
                return self.store(key, rows) or rows
        return rows

    def _map(self, path: Path, header: Header, row_keys: Iterable[str]) -> dict[str, Tensor]:
        """The rows as views of the mapped file; none where it has vanished meanwhile."""
        row_keys = list(row_keys)
        if not row_keys:
            return {}
        try:
            whole = _mapped(str(path), header.size_bytes)
            with torch.inference_mode(False):
                rows = {row_key: _view(whole, header, row_key) for row_key in row_keys}
        except (RuntimeError, UnicodeEncodeError) as error:  # torch wants names in UTF-8
            logger.info("kept activations in %s cannot be mapped: %s", path, error)
            return {}
        self._in_use.add(path)
        try:
            os.utime(path)  # used just now
        except OSError as error:
            logger.debug("%s cannot be marked as used: %s", path, error)
        return rows

    def _drop(self, path: Path, reason: str) -> bool:
        logger.info("kept activations are damaged and will be computed again: %s: %s", path, reason)
        self._in_use.discard(path)
        return cache_files.remove(path)

    def _warn(self, reason: str) -> None:
        none, no = ("no more ", "") if self._in_use else ("", "not ")
        _tell_once(
            self.problems,
            f"{none}activations of the frozen prefix are {no}kept for later runs in "
            f"{self._directory}: {reason}",
        )


class Spill:
    """Keeps the rows of one run, by cut, in files of its own that nobody else can find.

    They go with the run; on Linux they never have a name, so that a run that is killed leaves none.
    Elsewhere the next run removes them.
    It never fails: what cannot be written is not kept.
    """

    def __init__(self, directory: Path | None, limit_bytes: int) -> None:
        """``directory`` is made if need be; ``None`` is the system's for temporary files."""
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._folder: Path | None = None
        self._used_bytes: dict[int, int] = {}
        self._tried = self._unwritable = False
        self.most_bytes = 0
        """The most that was kept at a time."""
        self.problems: list[str] = []
        """What was told of what cannot be kept."""

    def room_bytes(self) -> int:
        """The limit, or 0 where nothing can be written; tried once."""
        if not self._tried:
            self._tried = True
            try:
                self._try_writing()
            except OSError as error:
                self._give_up(error, some_are_kept=False)
        return 0 if self._unwritable else self._limit_bytes

    def store(
        self, cut: int, rows: Mapping[int, Tensor], elsewhere_bytes: int = 0
    ) -> dict[int, Tensor]:
        """As many of the rows, all of one dtype, as the limit allows, mapped from the disk; so many
        bytes of the limit are used elsewhere."""
        free_bytes = self._limit_bytes - elsewhere_bytes - sum(self._used_bytes.values())
        places: dict[int, tuple[int, int]] = {}
        end = 0
        for slot, row in rows.items():
            if end + row.nbytes <= free_bytes:
                places[slot] = (end, end + row.nbytes)
                end += row.nbytes
        if not self._unwritable and len(places) < len(rows):
            some = bool(elsewhere_bytes or self.most_bytes or places)
            self._warn(_limit_reached(self._limit_bytes), some)
        if self._unwritable or not end:
            return {}
        try:
            whole = self._write([rows[slot] for slot in places], end)
        except (OSError, RuntimeError, UnicodeEncodeError) as error:
            self._give_up(error, bool(elsewhere_bytes or self.most_bytes))
            return {}
        finally:
            self._tidy()
        self._used_bytes[cut] = self._used_bytes.get(cut, 0) + end
        self.most_bytes = max(self.most_bytes, sum(self._used_bytes.values()))
        return {
            slot: whole[first:last].view(rows[slot].dtype).reshape(rows[slot].shape)
            for slot, (first, last) in places.items()
        }

    def drop(self, cut: int) -> None:
        """Give back the room of a cut whose rows nobody uses any more."""
        self._used_bytes.pop(cut, None)
        self._tidy()

    def _try_writing(self) -> None:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        cache_files.try_writing(self._directory or Path(tempfile.gettempdir()))

    def _give_up(self, error: Exception, some_are_kept: bool) -> None:
        self._unwritable = True
        reason = "the disk is full" if means_full_disk(error) else self._reason(error)
        self._warn(reason, some_are_kept)

    def _write(self, rows: Iterable[Tensor], size_bytes: int) -> Tensor:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
        if (unnamed := _open_unnamed(self._directory)) is not None:
            with unnamed as file:
                _write_rows(file, rows)
                return _mapped(f"/proc/self/fd/{file.fileno()}", size_bytes)
        if self._folder is None:
            stack = contextlib.ExitStack()
            place = self._directory or Path(tempfile.gettempdir())
            self._folder = stack.enter_context(temporary_folder(place, _SPILL_PREFIX))
            weakref.finalize(self, stack.close)
        path = self._folder / uuid.uuid4().hex
        with path.open("xb") as file:
            _write_rows(file, rows)
        return _mapped(str(path), size_bytes)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OSError) and self._directory is not None:
            return folder_reason(error, self._directory)
        return str(error)

    def _tidy(self) -> None:
        """Remove the names of the files; Windows keeps those that are mapped."""
        if self._folder is not None:
            for path in self._folder.glob("*"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _warn(self, reason: str, some_are_kept: bool) -> None:
        more = "more " if some_are_kept else ""
        _tell_once(
            self.problems,
            f"activations of the frozen prefix for which there is no {more}room in memory nor in "
            f"{self._directory or tempfile.gettempdir()} are computed again each time: {reason}",
        )


def _tell_once(problems: list[str], problem: str) -> None:
    """Warn of the first problem; what follows from it is of no use to anybody but a developer."""
    if problems:
        logger.debug("%s", problem)
    else:
        logger.warning("%s", problem)
        problems.append(problem)


def _open_unnamed(directory: Path | None) -> IO[bytes] | None:
    """A file without a name in ``directory``; ``None`` where there is no such thing."""
    try:
        flags = os.O_TMPFILE | os.O_RDWR
        place = os.open(directory or tempfile.gettempdir(), flags, 0o600)
    except (AttributeError, OSError):
        return None
    return os.fdopen(place, "wb")


def _write_rows(file: IO[bytes], rows: Iterable[Tensor]) -> None:
    for row in rows:
        file.write(_bytes_of(row))
    file.flush()


def _mapped(path: str, size_bytes: int) -> Tensor:
    # Tensors made in inference mode could not enter a backward pass.
    with torch.inference_mode(False):
        return torch.from_file(path, shared=False, size=size_bytes, dtype=torch.uint8)


def _limit_reached(limit_bytes: int) -> str:
    return f"their limit of {size_text(limit_bytes)} (--cache-disk) is reached"


def _checked(key: PrefixKey) -> str:
    if not cache_files.is_digest(key.digest):
        raise ValueError(f"the prefix's digest is {key.digest!r}, expected 64 hexadecimal digits")
    return key.digest


def _row_bytes(row_key: str, row: Tensor) -> RowBytes:
    if row.dtype not in _NAMES or row.ndim not in (1, 2):
        raise ValueError(
            f"row {row_key} is {row.dtype} {tuple(row.shape)}, expected (L, H) or (H,) in "
            f"{', '.join(map(str, _NAMES))}"
        )
    return RowBytes(_NAMES[row.dtype], tuple(row.shape), _bytes_of(row))


def _bytes_of(row: Tensor) -> memoryview:
    flat = row.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _view(whole: Tensor, header: Header, row_key: str) -> Tensor:
    dtype, shape = header.places[row_key].dtype, header.places[row_key].shape
    start, end = (header.data_start + offset for offset in header.places[row_key].data_offsets)
    return whole[start:end].view(_DTYPES[dtype]).reshape(shape)
