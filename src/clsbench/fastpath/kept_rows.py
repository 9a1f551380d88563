"""Storage of a frozen prefix's activations, in memory and on disk, within limits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey

_SHARD_BYTES = 64 * 2**20


class KnownPrefixes(NamedTuple):
    """What earlier runs of this process found out about prefixes: hashes of the tensors of one
    classifier by name, and the digests of keys whose activations in the cache are ``proven``."""

    digests: dict[str, str]
    proven: set[str]


class Room(NamedTuple):
    """The storage for activations: bytes of memory, and caches on disk.

    Activations with a key go to ``disk``, for later runs. Others, and all if ``disk`` cannot be
    used, go to ``temporary`` if they do not fit into memory. Those of the keys in ``proven`` were
    computed or recomputed by this process.
    """

    memory_bytes: int
    disk: DiskCache | None
    temporary: DiskCache | None = None
    proven: set[str] | None = None


class KeptRows:
    """The kept rows of activations by cut; ``rows`` holds ``None`` for rows that are not kept."""

    def __init__(self, room: Room, row_keys: Sequence[str]) -> None:
        self._room = room
        self._row_keys = row_keys
        self.rows: dict[int, list[Tensor | None]] = {}
        self._memory_bytes: dict[int, int] = {}
        self._temporary_bytes: dict[int, int] = {}
        self._cached_bytes = self._most_temporary_bytes = 0
        self.most_memory_bytes = 0
        """The peak memory use."""

    def begin(self, cut: int, found: list[Tensor | None]) -> None:
        """Start a cut with the rows found in the cache across runs."""
        self.rows[cut] = found
        self._cached_bytes += total_bytes(row for row in found if row is not None)

    def drop(self, cut: int) -> None:
        """Drop the activations at this cut."""
        self.rows.pop(cut, None)
        self._memory_bytes.pop(cut, None)
        if self._temporary_bytes.pop(cut, 0):
            assert self._room.temporary is not None
            self._room.temporary.drop(_temporary_key(cut))

    def close(self) -> None:
        """Drop all kept activations, except those in the cache across runs."""
        for cut in tuple(self.rows):
            self.drop(cut)
        if self._room.temporary is not None:
            self._room.temporary.close()

    def disk_bytes(self) -> int:
        """The peak disk use."""
        return self._cached_bytes + self._most_temporary_bytes

    def problems(self) -> tuple[str, ...]:
        """The warnings about activations that could not be kept."""
        disks = (self._room.disk, self._room.temporary)
        return tuple(p for disk in disks if disk is not None for p in disk.problems)

    def portion_bytes(self, key: PrefixKey | None) -> int:
        """The bytes of all cuts together that are collected before they are kept."""
        disk = self._cache_for(key) or self._room.temporary
        if disk is not None and (disk_bytes := disk.room_bytes()):
            return min(_SHARD_BYTES, disk_bytes // 4)
        # Without a disk, memory may be full long before a shard is complete.
        return min(_SHARD_BYTES, self._room.memory_bytes // 4, self._free_bytes())

    def _cache_for(self, key: PrefixKey | None) -> DiskCache | None:
        """The cache across runs, if it can be used for activations with this key."""
        disk = self._room.disk
        return disk if disk is not None and key is not None and disk.room_bytes() else None

    def keep(self, cut: int, key: PrefixKey | None, rows: Mapping[int, Tensor]) -> int:
        """Keep the rows; return how many were kept."""
        mapped: Mapping[int, Tensor] = {}
        cache, temporary = self._cache_for(key), self._room.temporary
        if cache is not None and key is not None:
            mapped = self._store(cache, key, rows)
            self._cached_bytes += total_bytes(mapped.values())
        in_memory = self.keep_in_memory(cut, rows)
        beyond = {slot: row for slot, row in rows.items() if slot not in in_memory}
        if cache is None and temporary is not None and beyond:
            mapped = self._store(temporary, _temporary_key(cut), beyond, self._cached_bytes)
            kept_bytes = self._temporary_bytes.get(cut, 0) + total_bytes(mapped.values())
            self._temporary_bytes[cut] = kept_bytes
            used_bytes = sum(self._temporary_bytes.values())
            self._most_temporary_bytes = max(self._most_temporary_bytes, used_bytes)
        for slot in beyond:
            self.rows[cut][slot] = mapped.get(slot)
        return sum(self.rows[cut][slot] is not None for slot in rows)

    def _store(
        self, disk: DiskCache, key: PrefixKey, rows: Mapping[int, Tensor], reserved_bytes: int = 0
    ) -> dict[int, Tensor]:
        by_key = {self._row_keys[slot]: row.cpu() for slot, row in rows.items()}
        stored = disk.store(key, by_key, reserved_bytes)
        return {slot: stored[k] for slot in rows if (k := self._row_keys[slot]) in stored}

    def keep_in_memory(self, cut: int, rows: Mapping[int, Tensor]) -> set[int]:
        """Keep rows in memory; return those that fit."""
        free_bytes = self._free_bytes()
        fitting: dict[int, Tensor] = {}
        for slot, row in rows.items():
            if row.nbytes <= free_bytes:
                free_bytes -= row.nbytes
                fitting[slot] = row
        for slot, row in _side_by_side(fitting).items():
            self.rows[cut][slot] = row
        if fitting:
            kept_bytes = self._memory_bytes.get(cut, 0) + total_bytes(fitting.values())
            self._memory_bytes[cut] = kept_bytes
            used_bytes = sum(self._memory_bytes.values())
            self.most_memory_bytes = max(self.most_memory_bytes, used_bytes)
        return set(fitting)

    def _free_bytes(self) -> int:
        return self._room.memory_bytes - sum(self._memory_bytes.values())


def _temporary_key(cut: int) -> PrefixKey:
    return PrefixKey(hashlib.sha256(f"cut {cut}".encode()).hexdigest(), {})


def total_bytes(rows: Iterable[Tensor]) -> int:
    """The total size of the rows in bytes."""
    return sum(row.nbytes for row in rows)


def _side_by_side(rows: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Copy the rows into one block of memory. Separate small, long-lived rows would fragment the
    memory that large, short-lived activations use."""
    if not rows:
        return {}
    first = next(iter(rows.values()))
    block = first.new_empty(sum(row.numel() for row in rows.values()))
    places = block.split_with_sizes([row.numel() for row in rows.values()])
    return {
        slot: place.view(row.shape).copy_(row)
        for (slot, row), place in zip(rows.items(), places, strict=True)
    }
