"""Folders that components fill once, in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import clsbench
from clsbench.assets import list_cached_folders, remove_cached_folders


def write(folder: Path) -> None:
    (folder / "words").write_text("some words")


def refuse(folder: Path) -> None:
    write(folder)
    raise KeyError("half done")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "own"))
    return tmp_path / "own"


def test_cached_folder_is_filled_once_for_each_key() -> None:
    calls = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        write(folder)

    first, again, other = (clsbench.cached_folder(key, "words", fill) for key in "aab")
    assert (first / "words").read_text() == "some words"
    assert first == again != other
    assert len(calls) == 2


def test_cached_folder_that_cannot_be_filled_leaves_nothing(cache: Path) -> None:
    with pytest.raises(KeyError):
        clsbench.cached_folder("a", "words", refuse)
    assert list(cache.rglob("*")) == [cache / "converted"]
    assert list_cached_folders() == ()


def test_cached_folder_without_space_is_refused_with_the_remedy(cache: Path) -> None:
    cache.write_text("a file in the way")
    with pytest.raises(clsbench.ClsbenchError, match="another folder with CLSBENCH_CACHE"):
        clsbench.cached_folder("a", "words", write)


def test_cached_folder_made_by_several_processes_is_complete() -> None:
    code = (
        "import sys, time, clsbench\n"
        "def fill(folder):\n"
        "    (folder / 'a').write_text('a'); time.sleep(0.2); (folder / 'b').write_text('b')\n"
        "folder = clsbench.cached_folder('key', 'about', fill)\n"
        "print(sorted(each.name for each in folder.iterdir()))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {process.communicate()[0] for process in started} == {"['a', 'b']\n"}
    assert len(list_cached_folders()) == 1


def test_cached_folders_are_listed_and_removed_by_digest_and_age(cache: Path) -> None:
    for key in "abc":
        clsbench.cached_folder(key, f"words of {key}", write)
    old = next(each for each in list_cached_folders() if each.about == "words of a")
    os.utime(cache / "converted" / old.digest, (time.time() - 40 * 86_400,) * 2)
    listed = list_cached_folders()
    assert listed[-1].digest == old.digest
    assert all(each.size_bytes > len("some words") for each in listed)
    digests = {each.digest for each in listed}
    assert remove_cached_folders(digests, older_than_days=30) == (1, old.size_bytes)
    last = listed[0]
    assert remove_cached_folders({last.digest})[0] == 1
    assert [each.digest for each in list_cached_folders()] == [listed[1].digest]
