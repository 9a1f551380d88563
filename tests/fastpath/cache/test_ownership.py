"""Which files the activation cache trusts, and the permissions of its own files."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from activation_rows import KEY, PLENTY, assert_same, make_rows, store

from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.cache.ownership import distrust

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no owners and modes there")

ANOTHER_USER = 12_345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

Change = Callable[[Path], None]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def status(mode: int, owner: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, owner, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "owner", "message"),
    [
        (0o600, os.geteuid(), None),
        (0o644, os.geteuid(), None),
        (0o644, 0, None),
        (0o664, os.geteuid(), "other users can write to it (mode 664)"),
        (0o602, os.geteuid(), "other users can write to it (mode 602)"),
        (0o666, 0, "other users can write to it (mode 666)"),
        (0o600, ANOTHER_USER, "another user owns it (user id 12345)"),
    ],
)
def test_distrust_by_owner_and_mode(mode: int, owner: int, message: str | None) -> None:
    assert distrust(status(mode, owner)) == message


def mode(bits: int) -> Change:
    return lambda path: path.chmod(bits)


def give_away(path: Path) -> None:
    os.chown(path, ANOTHER_USER, ANOTHER_USER)


@pytest.mark.parametrize("which", ["cache", "entry", "file"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (mode(0o770), "other users can write to it (mode 770)"),
        (mode(0o707), "other users can write to it (mode 707)"),
        pytest.param(give_away, "another user owns it (user id 12345)", marks=needs_root),
    ],
)
def test_load_folders_that_others_can_change_are_ignored_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str, change: Change, message: str
) -> None:
    cache, rows = tmp_path / "cache", make_rows(range(3))
    path = store(cache, rows)
    others = make_rows(range(5, 7))
    good = store(cache, others)
    change({"cache": cache, "entry": path.parent, "file": path}[which])
    found = DiskCache(cache, PLENTY)
    assert found.load(KEY, list(rows)) == {}
    assert found.load(KEY, list(rows)) == {}
    (warning,) = warnings_in(caplog)
    assert message in warning
    assert "CLSBENCH_CACHE" in warning
    assert found.problems == [warning]
    assert path.exists()
    if which == "file":
        assert_same(found.load(KEY, list(others)), others)
        # The next run replaces it.
        assert_same(DiskCache(cache, PLENTY).store(KEY, rows), rows)
        assert_same(DiskCache(cache, PLENTY).load(KEY, list(rows)), rows)
    else:
        assert good.exists()
        assert found.store(KEY, make_rows(range(8, 9))) == {}
        assert DiskCache(cache, PLENTY).room_bytes() == (0 if which == "cache" else PLENTY)


@needs_root
def test_load_rows_that_another_user_scaled_are_not_used(tmp_path: Path) -> None:
    """Their hashes are correct; only the owner differs."""
    rows = make_rows(range(3))
    scaled = {key: row * 2 for key, row in rows.items()}
    path = store(tmp_path, scaled)
    assert_same(DiskCache(tmp_path, PLENTY).load(KEY, list(rows)), scaled)
    give_away(path)
    assert DiskCache(tmp_path, PLENTY).load(KEY, list(rows)) == {}


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_store_creates_files_and_folders_only_the_user_can_read(tmp_path: Path, umask: int) -> None:
    rows = make_rows(range(3))
    before = os.umask(umask)
    try:
        cache = DiskCache(tmp_path / "user" / "cache", PLENTY)
        assert cache.room_bytes() == PLENTY
        cache.store(KEY, rows)
        assert_same(cache.load(KEY, list(rows)), rows)
    finally:
        os.umask(before)
    made = list((tmp_path / "user").rglob("*"))
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in made}
    assert modes == {(True, 0o700), (False, 0o600)}
