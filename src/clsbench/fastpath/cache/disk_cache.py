"""Memory-mapped activations of a frozen prefix on disk, for later runs or this run only."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
from clsbench.schema.quantities import size_text
from clsbench.system.filesystem import folder_reason, means_full_disk
from clsbench.system.unfinished import temporary_folder

logger = logging.getLogger(__name__)

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_TEMPORARY_PREFIX = ".clsbench-activations-"
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class PrefixKey(NamedTuple):
    """Identifies the computation of activations.

    ``digest`` is a SHA-256 in hexadecimal of the prefix's weights, the cut, the padded length, the
    mask, the dtype, the device type and the versions of the components. ``about`` describes the
    activations for ``clsbench cache list``.
    """

    digest: str
    about: dict[str, str]


class DiskCache:
    """Stores rows of activations by key, in a directory that several runs may share.

    Create one per run: rows that it stored or loaded are not evicted. Rows that cannot be read
    count as missing; rows that cannot be written are not stored, with a warning.

    A ``temporary`` cache uses a new folder inside ``directory``, which is removed when the cache is
    closed or deleted, or by the next run if this one is killed.

    Rows with a wrong hash are not used, nor are files or folders that another user owns or can
    write to (see :mod:`clsbench.fastpath.cache.ownership`).
    """

    def __init__(self, directory: Path, limit_bytes: int, temporary: bool = False) -> None:
        self._directory = self._place = directory.absolute()
        self._temporary = temporary
        self._folder = contextlib.ExitStack()
        self.limit_bytes = limit_bytes
        self._in_use: set[Path] = set()
        self._opened = False
        self._tried = self._unwritable = False
        self.problems: list[str] = []
        """The warnings about rows that cannot be stored."""
        self._trust = Trust(self.problems)

    def room_bytes(self) -> int:
        """The limit, or 0 if the folder is not writable or not trusted; checked once."""
        if not self._tried:
            self._tried = True
            try:
                make_folder(self._directory)
                cache_files.try_writing(self._directory)
                trusted = self._temporary or self._trust.in_folders(self._directory)
                self._unwritable = not trusted
            except OSError as error:
                self._give_up(error)
        return 0 if self._unwritable else self.limit_bytes

    def load(self, key: PrefixKey, row_keys: Sequence[str]) -> dict[str, Tensor]:
        """The intact stored rows: (L, H) or (H,) on the CPU, mapped from the disk.

        Every returned row has been read once and its hash checked. Load all rows of a run in one
        call, since each call reads the headers again. Damaged rows are removed from the disk.
        Changing a returned tensor in place does not change the file.

        Raises:
            ValueError: ``key.digest`` is not a SHA-256.
        """
        found: dict[str, Tensor] = {}
        if not self._open():
            return found
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
            with contextlib.suppress(OSError):  # the description is optional
                cache_files.place_about(self._directory, key.digest, key.about)
        return {row_key: found[row_key] for row_key in row_keys if row_key in found}

    def store(
        self, key: PrefixKey, rows: Mapping[str, Tensor], reserved_bytes: int = 0
    ) -> dict[str, Tensor]:
        """Store the rows in one new file; callers pass about 64 MB at a time.

        Returns the rows mapped from the disk, or ``{}`` if they cannot be stored because of the
        limit (less ``reserved_bytes``), a full disk or a folder that is not writable. The first
        reason is given in a warning.

        Raises:
            ValueError: a row has an unsupported dtype or no axis, or ``key.digest`` is not a
                SHA-256.
        """
        _checked(key)
        if not rows or self._unwritable:
            return {}
        data = {row_key: _row_bytes(row_key, row) for row_key, row in rows.items()}
        if not self._open():
            return {}
        if not self._trust.in_folders(self._directory, self._directory / key.digest):
            return {}
        # Check the space first, since hashing takes far longer.
        if not self._make_room(reserved_bytes + sum(row.data.nbytes for row in data.values())):
            return {}
        shard = seal(key.digest, data)
        if not self._make_room(reserved_bytes + shard.header.size_bytes):
            return {}
        name = Path(key.digest, shard.name + SUFFIX)
        path = self._directory / name
        try:
            cache_files.place_about(self._directory, key.digest, key.about)
            cache_files.place(self._directory, name, shard.write, durable=not self._temporary)
        except OSError as error:
            if isinstance(error, PermissionError) and path.exists():
                # Windows: another run has stored the same file and uses it.
                return self.load(key, list(rows))
            self._give_up(error)
            return {}
        return self._map(path, shard.header, rows)

    def note_seconds(self, key: PrefixKey, seconds: float) -> None:
        """Note the time that computing a token position of the stored rows took."""
        with contextlib.suppress(OSError):  # the description is optional
            if (self._directory / key.digest).is_dir():
                cache_files.place_about(self._directory, key.digest, key.about, seconds)

    def seconds_per_position(self, key: PrefixKey) -> float | None:
        """The time that was noted when the rows of the key were stored, ``None`` if none was."""
        return cache_files.seconds_per_position(self._directory, key.digest)

    def drop(self, key: PrefixKey) -> None:
        """Remove the rows of a key from a temporary cache. On Windows, files of rows that are still
        mapped stay until the next run."""
        for path in cache_files.shard_files(self._directory / _checked(key)):
            self._in_use.discard(path)
            cache_files.remove(path)

    def close(self) -> None:
        """Remove the folder of a temporary cache."""
        self._folder.close()

    def _open(self) -> bool:
        """On first use, remove leftovers and rows beyond the limit, or make the temporary folder;
        return whether the cache can be used."""
        if not self._opened:
            self._opened = True
            if self._temporary:
                try:
                    make_folder(self._place)
                    folder = temporary_folder(self._place, _TEMPORARY_PREFIX)
                    self._directory = self._folder.enter_context(folder)
                    weakref.finalize(self, self._folder.close)
                except OSError as error:
                    self._give_up(error)
            else:
                cache_files.sweep_unfinished(self._directory)
                cache_files.make_room(self._directory, 0, self.limit_bytes, self._in_use)
        return not (self._temporary and self._unwritable)

    def _give_up(self, error: OSError) -> None:
        self._unwritable = True
        full = means_full_disk(error)
        self._warn("the disk is full" if full else folder_reason(error, self._place))

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
        except OSError as error:  # evicted by another run, or unreadable
            logger.info("cached activations in %s cannot be read: %s", path, error.strerror)
            return {}
        rows = self._map(path, header, intact)
        if damaged := len(there) - len(intact):
            good = f"; {len(intact)} others are intact" if intact else ""
            if self._drop(path, f"{damaged} rows do not match their hashes{good}"):
                return self.store(key, rows) or rows
        return rows

    def _map(self, path: Path, header: Header, row_keys: Iterable[str]) -> dict[str, Tensor]:
        """The rows as views of the mapped file; empty if the file has disappeared."""
        row_keys = list(row_keys)
        if not row_keys:
            return {}
        try:
            whole = _mapped(str(path), header.size_bytes)
            with torch.inference_mode(False):
                rows = {row_key: _view(whole, header, row_key) for row_key in row_keys}
        except (RuntimeError, UnicodeEncodeError) as error:  # torch needs names in UTF-8
            logger.info("cached activations in %s cannot be mapped: %s", path, error)
            return {}
        self._in_use.add(path)
        try:
            os.utime(path)  # the time of last use
        except OSError as error:
            logger.debug("%s cannot be marked as used: %s", path, error)
        return rows

    def _drop(self, path: Path, reason: str) -> bool:
        logger.info("damaged cached activations are computed again: %s: %s", path, reason)
        self._in_use.discard(path)
        return cache_files.remove(path)

    def _warn(self, reason: str) -> None:
        if self._temporary:
            problem = (
                "activations of the frozen prefix that fit neither in memory nor in "
                f"{self._place} are computed again each time: {reason}"
            )
        else:
            some = "some " if self._in_use else ""
            problem = (
                f"{some}activations of the frozen prefix are not cached for later runs in "
                f"{self._place}: {reason}"
            )
        _warn_once(self.problems, problem)


def _warn_once(problems: list[str], problem: str) -> None:
    """Warn of the first problem; later ones follow from it and are logged at debug level."""
    if problems:
        logger.debug("%s", problem)
    else:
        logger.warning("%s", problem)
        problems.append(problem)


def _mapped(path: str, size_bytes: int) -> Tensor:
    # Tensors created in inference mode cannot take part in a backward pass.
    with torch.inference_mode(False):
        return torch.from_file(path, shared=False, size=size_bytes, dtype=torch.uint8)


def _limit_reached(limit_bytes: int) -> str:
    return f"the limit of {size_text(limit_bytes)} (--cache-disk) is reached"


def _checked(key: PrefixKey) -> str:
    if not cache_files.is_digest(key.digest):
        raise ValueError(f"the digest of the key is {key.digest!r}, expected 64 hexadecimal digits")
    return key.digest


def _row_bytes(row_key: str, row: Tensor) -> RowBytes:
    if row.dtype not in _NAMES or not row.ndim:
        raise ValueError(
            f"row {row_key} is {row.dtype} {tuple(row.shape)}, expected at least one axis in "
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
