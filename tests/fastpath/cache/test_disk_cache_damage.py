"""Damaged files of the disk cache: detected, removed, never returned."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from activation_rows import (
    KEY,
    OTHER,
    PLENTY,
    assert_same,
    make_rows,
    shards,
    store,
)
from cached_rows import load
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clsbench.fastpath.cache.disk_cache import DiskCache


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A cache with one small shard, that shard, and its content."""
    directory = tmp_path_factory.mktemp("small")
    path = store(directory, make_rows(range(3), (2, 3)))
    return directory, path, path.read_bytes()


def restore(small: tuple[Path, Path, bytes], content: bytes) -> dict[str, Tensor]:
    """The rows that a run finds if the cache contains only ``content``."""
    directory, path, _ = small
    for other in shards(directory):
        other.unlink()
    path.write_bytes(content)
    return load(directory, make_rows(range(3), (2, 3)))


def test_load_with_any_flipped_byte_detects_it(small: tuple[Path, Path, bytes]) -> None:
    directory, path, content = small
    rows = make_rows(range(3), (2, 3))
    assert_same(restore(small, content), rows)
    assert shards(directory) == [path]
    data_start = len(content) - 3 * 24
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        found = restore(small, bytes(flipped))
        if position < data_start:
            assert found == {}
            assert shards(directory) == []
        else:
            assert len(found) == 2  # the intact rows are stored in a new shard
            assert_same(found, {key: rows[key] for key in found})
            assert path not in shards(directory)
            assert_same(load(directory, rows), found)


@settings(max_examples=60)
@given(st.data())
def test_load_with_any_damage_detects_it(
    small: tuple[Path, Path, bytes], data: st.DataObject
) -> None:
    content = bytearray(small[2])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 90))] = data.draw(st.binary(max_size=40))
    rows = make_rows(range(3), (2, 3))
    found = restore(small, bytes(content))
    assert_same(found, {key: rows[key] for key in found})
    if bytes(content) != small[2]:
        assert len(found) < 3


@pytest.mark.parametrize("length", [0, 1, 8, 300, -1])
def test_load_of_a_truncated_shard_removes_it(tmp_path: Path, length: int) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    path.write_bytes(path.read_bytes()[:length])
    assert load(tmp_path, rows) == {}
    assert not path.exists()
    assert_same(DiskCache(tmp_path, PLENTY).store(KEY, rows), rows)
    assert_same(load(tmp_path, rows), rows)


def test_load_of_an_extended_shard_removes_it(tmp_path: Path) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    path.write_bytes(path.read_bytes() + b"\0")
    assert load(tmp_path, rows) == {}
    assert not path.exists()


def test_load_with_an_absurd_header_length_allocates_nothing(tmp_path: Path) -> None:
    path = store(tmp_path, make_rows(range(3)))
    path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:])
    assert load(tmp_path, make_rows(range(3))) == {}
    assert not path.exists()


def test_load_with_a_damaged_row_logs_it_and_keeps_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(range(5))
    path = store(tmp_path, rows)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = load(tmp_path, rows)
    assert len(found) == 4
    (message,) = (r.getMessage() for r in caplog.records if r.levelno == logging.INFO)
    assert str(path) in message
    assert "1 rows do not match their hashes; 4 others are intact" in message
    caplog.clear()
    assert_same(load(tmp_path, rows), found)
    assert caplog.records == []


def test_load_of_a_renamed_shard_ignores_it(tmp_path: Path) -> None:
    rows = make_rows(range(2))
    path = store(tmp_path, rows)
    renamed = path.with_name("0" * 32 + ".safetensors")
    path.rename(renamed)
    assert load(tmp_path, rows) == {}
    path = store(tmp_path, rows)
    moved = tmp_path / OTHER.digest / path.name
    moved.parent.mkdir()
    path.rename(moved)
    assert load(tmp_path, rows, OTHER) == {}
    assert shards(tmp_path) == []


def test_load_of_an_unreadable_shard_keeps_it(tmp_path: Path) -> None:
    """A folder in its place causes an OSError, like a failing disk."""
    rows = make_rows(range(2))
    path = store(tmp_path, rows)
    path.unlink()
    path.mkdir()
    assert load(tmp_path, rows) == {}
    assert path.is_dir()
