"""Where kept rows of a frozen prefix lie: within the memory limit, on disk, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.kept_rows import KeptRows, Room

ROW = torch.arange(5, dtype=torch.float64)
MIB = 2**20


def test_keep_leaves_rows_on_their_device_within_the_limit_and_stores_the_others(
    tmp_path: Path, device: torch.device
) -> None:
    room = Room(2 * ROW.nbytes, None, DiskCache(tmp_path, 10**6, temporary=True))
    kept = KeptRows(room, ["a", "b", "c", "d"])
    kept.begin(1, [None] * 4)
    assert kept.keep(1, None, {slot: (ROW + slot).to(device) for slot in range(4)}) == 4
    rows = [row for row in kept.rows[1] if row is not None]
    assert [row.device.type for row in rows] == [device.type] * 2 + ["cpu"] * 2
    assert [row.tolist() for row in rows] == [(ROW + slot).tolist() for slot in range(4)]
    assert kept.most_memory_bytes == kept.disk_bytes() == 2 * ROW.nbytes
    kept.close()


def test_keep_without_a_disk_drops_rows_beyond_the_limit(device: torch.device) -> None:
    kept = KeptRows(Room(3 * ROW.nbytes - 1, None), ["a", "b", "c"])
    kept.begin(1, [None] * 3)
    assert kept.keep(1, None, {slot: ROW.to(device) for slot in range(3)}) == 2
    assert [row is None for row in kept.rows[1]] == [False, False, True]


def test_keep_in_memory_copies_rows_to_one_block_on_their_device() -> None:
    """torch's meta device is another device than the CPU, and on every machine."""
    kept = KeptRows(Room(10**6, None), ["a", "b"])
    kept.begin(1, [None, None])
    computed = [ROW.to("meta"), torch.empty(2, 3, device="meta")]
    kept.keep_in_memory(1, dict(enumerate(computed)))
    one, other = (row for row in kept.rows[1] if row is not None)
    assert (one.device.type, other.device.type, other.shape) == ("meta", "meta", (2, 3))
    assert one._base is other._base is not None


@pytest.mark.parametrize(
    ("memory_bytes", "disk_bytes", "portion_bytes"),
    [
        (8 * MIB, None, 2 * MIB),
        (1000 * MIB, None, 64 * MIB),
        (0, None, 0),
        (8 * MIB, 40 * MIB, 10 * MIB),
        (0, 1000 * MIB, 64 * MIB),
    ],
)
def test_portion_bytes_is_a_quarter_of_the_space_and_at_most_a_shard(
    memory_bytes: int, disk_bytes: int | None, portion_bytes: int, tmp_path: Path
) -> None:
    disk = None if disk_bytes is None else DiskCache(tmp_path, disk_bytes, temporary=True)
    assert KeptRows(Room(memory_bytes, None, disk), []).portion_bytes(None) == portion_bytes


def test_portion_bytes_is_what_the_limit_leaves() -> None:
    kept = KeptRows(Room(4 * ROW.nbytes, None), ["a", "b", "c", "d"])
    kept.begin(1, [None] * 4)
    kept.keep_in_memory(1, {0: ROW, 1: ROW, 2: ROW})
    assert kept.portion_bytes(None) == ROW.nbytes
    kept.keep_in_memory(1, {3: ROW})
    assert kept.portion_bytes(None) == 0
    kept.drop(1)
    assert kept.portion_bytes(None) == ROW.nbytes, "a quarter of the limit"
