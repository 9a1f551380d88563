"""Several processes on one disk cache, and disks that cannot be written."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from activation_rows import (
    KEY,
    OTHER,
    PLENTY,
    assert_same,
    make_rows,
    shards,
)
from cached_rows import WITH_HELPERS, load, start, warnings_in

from clsbench.fastpath.cache.disk_cache import DiskCache


def unfinished(directory: Path) -> list[Path]:
    return list(directory.glob("**/.unfinished-*"))


SHARED = f"""
import sys, time, logging, torch
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).resolve().parents[2] / "support")!r})
from activation_rows import KEY, PLENTY, assert_same, make_rows
from clsbench.fastpath.cache.disk_cache import DiskCache
logging.basicConfig(level=logging.WARNING, format="%(message)s")
directory = Path(sys.argv[1])
"""


WRITER = (
    SHARED
    + """
print("ready", flush=True)
sys.stdin.readline()
cache = DiskCache(directory, PLENTY)
for start in range(0, 120, 4):
    rows = make_rows(range(start, start + 4), (16, 16))
    assert_same(cache.store(KEY, rows), rows)
rows = make_rows(range(120), (16, 16))
assert_same(cache.load(KEY, list(rows)), rows)
"""
)


ENDLESS_WRITER = (
    SHARED
    + """
cache = DiskCache(directory, PLENTY)
for start in range(10_000):
    cache.store(KEY, make_rows(range(4 * start, 4 * start + 4), (1024, 1024)))
"""
)


@pytest.mark.slow
def test_store_of_the_same_rows_by_several_processes_succeeds(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    rows = make_rows(range(120), (16, 16))
    while any(writer.poll() is None for writer in writers):
        found = load(tmp_path, rows)
        assert_same(found, {key: rows[key] for key in found})
        time.sleep(0.01)
    for writer in writers:
        assert (writer.communicate()[1], writer.returncode) == ("", 0)
    assert_same(load(tmp_path, rows), rows)
    assert len(shards(tmp_path)) == 30
    assert unfinished(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be stopped in the middle there")
def test_store_after_a_killed_writer_removes_its_file(tmp_path: Path) -> None:
    def half_written() -> list[Path]:
        found = []
        for file in unfinished(tmp_path):
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                found += [file] if file.stat().st_size else []
        return found

    writer = start(ENDLESS_WRITER, tmp_path)
    try:
        while not (shards(tmp_path) and half_written()):
            writer.send_signal(signal.SIGCONT)
            time.sleep(0.001)
            writer.send_signal(signal.SIGSTOP)
            os.waitpid(writer.pid, os.WUNTRACED)  # until it has stopped
        DiskCache(tmp_path, PLENTY).store(OTHER, make_rows(range(1, 2)))
        (left,) = unfinished(tmp_path)  # its writer is alive
    finally:
        writer.kill()
        writer.communicate()
    assert unfinished(tmp_path) == [left]
    complete = list((tmp_path / KEY.digest).glob("*.safetensors"))
    rows = make_rows(range(4 * len(complete) + 4), (1024, 1024))
    found = load(tmp_path, rows)
    assert_same(found, dict(list(rows.items())[: 4 * len(complete)]))
    few = make_rows(range(1))
    assert_same(DiskCache(tmp_path, PLENTY).store(OTHER, few), few)
    assert unfinished(tmp_path) == []


CLEARER = """
import sys, threading
from pathlib import Path
from clsbench.fastpath.cache.cache_files import clear
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
print("ready", flush=True)
freed = 0
while not done.is_set():
    freed += clear(Path(sys.argv[1])).freed_bytes
print(freed)
"""


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_store_and_load_while_another_process_clears_succeed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clearer = start(CLEARER, tmp_path)
    assert clearer.stdout is not None
    assert clearer.stdout.readline() == "ready\n"
    cache = DiskCache(tmp_path, PLENTY)
    kept_at_all = 0
    try:
        for number in range(150):
            rows = make_rows(range(number, number + 2), (16, 16))
            kept = cache.store(KEY, rows)
            assert_same(kept, {key: rows[key] for key in kept})
            kept_at_all += bool(kept)
            found = cache.load(KEY, list(rows))
            assert_same(found, {key: rows[key] for key in found})
    finally:
        out, err = clearer.communicate("stop\n")
    assert (clearer.returncode, err) == (0, "")
    assert int(out) > 0
    assert kept_at_all > 0
    assert warnings_in(caplog) == []


SMALL_DISK = (
    SHARED
    + """
import os, subprocess
cache = DiskCache(directory, PLENTY)
stored = {}
outcomes = []
for start in range(0, 8, 2):
    rows = make_rows(range(start, start + 2), (200, 200))
    kept = cache.store(KEY, rows)
    outcomes.append(len(kept))
    stored |= {key: rows[key] for key in kept}
print(outcomes, [name for name in os.listdir(directory) if name.startswith(".")])
sys.stderr.write("---\\n")
sys.stderr.flush()
subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
cache = DiskCache(directory, PLENTY)
assert_same(cache.load(KEY, list(stored)), stored)
print([len(cache.store(KEY, make_rows(range(20, 22)))) for _ in range(2)])
"""
)


def test_store_on_a_full_or_read_only_disk_warns(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SMALL_DISK)
    mount = f"mount -t tmpfs -o size=800k,mode=700 tmpfs {disk}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", mount]).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    command = f"{mount} && {sys.executable} {script} {disk}"
    ended = subprocess.run(
        [unshare, "-m", "sh", "-c", command], capture_output=True, text=True, env=WITH_HELPERS
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["[2, 2, 0, 0] []", "[0, 0]"]
    full, _, read_only = ended.stderr.partition("---\n")
    not_cached = "some activations of the frozen prefix are not cached for later runs in"
    assert full == f"{not_cached} {disk}: the disk is full\n"
    # Stored rows were found before.
    assert read_only == f"{not_cached} {disk}: read-only file system\n"


@pytest.mark.parametrize("template", ["{tmp}/file", "{tmp}/file/deep", "/proc/cache", "/dev/full"])
def test_store_in_a_folder_that_cannot_be_made_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, template: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    directory = Path(template.format(tmp=tmp_path))
    cache = DiskCache(directory, PLENTY)
    rows = make_rows(range(2))
    for _ in range(2):
        assert cache.load(KEY, list(rows)) == {}
        assert cache.store(KEY, rows) == {}
    (warning,) = warnings_in(caplog)
    assert str(directory) in warning


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_store_in_a_folder_that_torch_cannot_open_returns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-xdist cannot transfer a log record with this name.
    monkeypatch.setattr(logging.getLogger("clsbench.fastpath.cache.disk_cache"), "disabled", True)
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    rows = make_rows(range(2))
    cache = DiskCache(directory, PLENTY)
    for views in (cache.store(KEY, rows), cache.load(KEY, list(rows))):
        assert views == {}


def test_cache_in_a_relative_folder_ignores_later_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = DiskCache(Path("cache"), PLENTY)
    rows = make_rows(range(2))
    cache.store(KEY, rows)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert_same(cache.load(KEY, list(rows)), rows)
