"""The files of the activation cache: list, write and clear."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from activation_rows import ABOUT, age, make_rows, shards, sizes, store

from clsbench.errors import ClsbenchError, UsageError
from clsbench.fastpath.cache.cache_files import (
    Cleared,
    activations_folder,
    clear,
    list_entries,
    place,
)
from clsbench.fastpath.cache.disk_cache import PrefixKey


@pytest.fixture
def three_entries(tmp_path: Path) -> Path:
    """Entries used 40 days ago (two shards that share a row), 20 days ago and just now."""
    directory = tmp_path / "cache"
    for digest, days, groups in (
        ("aaaa" * 16, 40, (range(3), range(2, 4))),
        ("aabb" * 16, 20, (range(5),)),
        ("cccc" * 16, 0, (range(1),)),
    ):
        for group in groups:
            path = store(directory, make_rows(group), PrefixKey(digest, {"backbone": digest[:4]}))
            age(path, days * 86_400)
    return directory


def test_list_entries_sorts_by_last_use(three_entries: Path) -> None:
    entries = list_entries(three_entries)
    assert [entry.digest[:4] for entry in entries] == ["cccc", "aabb", "aaaa"]
    assert [entry.about for entry in entries] == [{"backbone": e.digest[:4]} for e in entries]
    assert [entry.rows for entry in entries] == [1, 5, 4]
    assert sum(entry.size_bytes for entry in entries) == sizes(three_entries)
    days = [(datetime.now(UTC) - entry.last_used).total_seconds() / 86_400 for entry in entries]
    assert days == pytest.approx([0, 20, 40], abs=0.01)


@pytest.mark.parametrize("about", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff"])
def test_list_entries_with_a_lost_description_restores_it(tmp_path: Path, about: bytes) -> None:
    path = store(tmp_path, make_rows(range(2)))
    path.with_name("about.json").write_bytes(about)
    assert list_entries(tmp_path)[0].about == {}
    store(tmp_path, make_rows(range(2, 4)))
    assert list_entries(tmp_path)[0].about == ABOUT


def test_list_entries_with_a_damaged_shard_counts_no_rows(tmp_path: Path) -> None:
    path = store(tmp_path, make_rows(range(2)))
    path.write_bytes(b"damaged")
    (entry,) = list_entries(tmp_path)
    assert entry.rows == 0
    assert path.exists()


def test_list_entries_without_a_folder_is_empty(tmp_path: Path) -> None:
    assert list_entries(tmp_path / "none") == ()
    assert clear(tmp_path / "none") == Cleared(0, 0)


def test_place_while_the_entry_is_cleared_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is removed after mkdir has found it."""
    (tmp_path / "entry").mkdir()
    make = os.mkdir

    def vanishes_once_found(path: str, mode: int = 0o777) -> None:
        try:
            make(path, mode)
        except FileExistsError:
            os.rmdir(path)
            raise

    monkeypatch.setattr(os, "mkdir", vanishes_once_found)
    place(tmp_path, Path("entry", "file"), lambda file: None)
    assert [path.name for path in tmp_path.rglob("*")] == ["entry", "file"]


def test_clear_without_arguments_removes_everything(three_entries: Path) -> None:
    size_bytes = sizes(three_entries)
    assert clear(three_entries) == Cleared(3, size_bytes)
    assert list(three_entries.iterdir()) == []


def test_clear_by_digest_removes_that_entry(three_entries: Path) -> None:
    assert clear(three_entries, ["CC", "aab"]).entries == 2
    assert [entry.digest[:4] for entry in list_entries(three_entries)] == ["aaaa"]


def test_clear_by_age_removes_old_entries(three_entries: Path) -> None:
    assert clear(three_entries, ["aaaa", "cccc"], older_than_days=30).entries == 1
    assert [entry.digest[:4] for entry in list_entries(three_entries)] == ["cccc", "aabb"]
    assert clear(three_entries, older_than_days=10).entries == 1
    assert [entry.digest[:4] for entry in list_entries(three_entries)] == ["cccc"]


@pytest.mark.parametrize(
    ("digest", "said"),
    [
        ("aa", "ambiguous: it matches 2: aaaaaaaa, aabbaabb"),
        ("aaaaaaaaaaab", "no entry 'aaaaaaaaaaab'.*did you mean 'aaaaaaaaaaaa'"),
        ("f", "no entry 'f'.*choose from: aaaaaaaaaaaa, aabbaabbaabb, cccccccccccc"),
        ("", "no entry ''"),
    ],
)
def test_clear_with_an_unknown_or_ambiguous_digest_removes_nothing(
    three_entries: Path, digest: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        clear(three_entries, ["cccc", digest])
    assert len(list_entries(three_entries)) == 3


def test_list_entries_of_an_unreadable_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for action in (list_entries, clear):
        with pytest.raises(UsageError, match=r"file is not a folder.*CLSBENCH_CACHE"):
            action(tmp_path / "file")


def test_clear_with_a_file_that_cannot_be_removed_names_it(three_entries: Path) -> None:
    path = shards(three_entries)[0]
    path.unlink()
    path.mkdir()  # cannot be unlinked, not even by root
    with pytest.raises(ClsbenchError, match=f"cannot remove 1 of the files .* such as {path}"):
        clear(three_entries)
    assert shards(three_entries) == [path]


def test_activations_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path))
    assert activations_folder() == tmp_path / "activations"
