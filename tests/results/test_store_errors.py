"""Stores that cannot be written: full disks, limits, permissions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from record_examples import make_record
from stored_runs import NAME, entries, store_run

from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.store import (
    check_store_writable,
    run_directory,
    scan,
    write_record,
)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_run_directory_on_a_full_disk_raises_and_is_removed(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        write_record(directory, make_record())
        (directory / "classifier.safetensors").symlink_to("/dev/full")
        (directory / "classifier.safetensors").write_bytes(b"0" * 100_000)

    with (
        pytest.raises(ClsbenchError, match="the disk is full") as caught,
        run_directory(tmp_path, NAME) as directory,
    ):
        fill(directory)
    assert caught.value.exit_code == 1
    assert str(tmp_path) in str(caught.value)
    assert entries(tmp_path) == []


FILLING = """
import sys, resource
from pathlib import Path
from clsbench.errors import ClsbenchError
from clsbench.results.store import check_store_writable, run_directory
store = Path(sys.argv[1])
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
check_store_writable(store)
try:
    with run_directory(store, "20251121T101729Z-run-00000000") as directory:
        if sys.argv[3] == "safetensors":
            import numpy
            from safetensors.numpy import save_file
            save_file({"a": numpy.zeros(150_000)}, directory / "classifier.safetensors")
        else:
            with open(directory / "classifier.safetensors", "wb") as file:
                for _ in range(64):
                    file.write(bytes(16384))
except ClsbenchError as error:
    print(error)
    sys.exit(error.exit_code if not list(store.iterdir()) else 77)
"""


@pytest.mark.parametrize("writer", ["python", "safetensors"])
def test_write_beyond_a_file_size_limit_reports_a_full_disk(tmp_path: Path, writer: str) -> None:
    command = [sys.executable, "-c", FILLING, str(tmp_path), "65536", writer]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "the disk is full" in ended.stdout


@pytest.mark.parametrize("writer", ["python", "safetensors"])
def test_write_on_a_disk_that_fills_up_reports_it(tmp_path: Path, writer: str) -> None:
    script = tmp_path / "filling.py"
    script.write_text(FILLING)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=256k tmpfs {disk}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", mount]).returncode:
        pytest.skip("no tmpfs of one's own can be mounted here")
    command = f"{mount} && {sys.executable} {script} {disk} 0 {writer}"
    ended = subprocess.run([unshare, "-m", "sh", "-c", command], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "the disk is full" in ended.stdout


def test_check_store_writable_leaves_a_writable_store_unchanged(tmp_path: Path) -> None:
    check_store_writable(tmp_path / "deep" / "store")
    check_store_writable(tmp_path)
    assert entries(tmp_path) == []


def test_check_store_writable_accepts_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_store_writable(Path("runs"))
    assert entries(tmp_path) == []


def test_scan_with_a_recursive_link_reads_the_other_runs(tmp_path: Path) -> None:
    for name in ("loop", "20260101T000000Z-loop-12345678"):
        (tmp_path / name).symlink_to(tmp_path / name)
    store_run(tmp_path, make_record())
    found = scan(tmp_path)
    assert len(found.runs) == 1
    ((path, reason),) = found.damaged
    assert path.name == "20260101T000000Z-loop-12345678"
    assert "symbolic links" in reason


def unwritable_stores() -> list[str]:
    return ["{tmp}/file", "{tmp}/file/store", "{tmp}/dangling", "/proc/store", "/dev/full"]


@pytest.mark.parametrize("template", unwritable_stores())
def test_check_store_writable_with_an_unwritable_store_raises(
    tmp_path: Path, template: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    store = Path(template.format(tmp=tmp_path))
    with pytest.raises(UsageError, match="cannot be stored in") as caught:
        check_store_writable(store)
    assert str(store) in str(caught.value)
    assert "--out" in str(caught.value)
    if "file" in template:
        assert f"{tmp_path / 'file'} is not a folder" in str(caught.value)


def test_check_store_writable_on_a_read_only_file_system_raises(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from clsbench.results.store import check_store_writable\n"
        "from clsbench.errors import UsageError\n"
        "try:\n    check_store_writable(Path(sys.argv[1]))\n"
        "except UsageError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k,ro tmpfs {disk}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", mount]).returncode:
        pytest.skip("no tmpfs of one's own can be mounted here")
    command = f"{mount} && {sys.executable} {script} {disk}"
    ended = subprocess.run([unshare, "-m", "sh", "-c", command], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "read-only file system" in ended.stdout


def test_write_record_with_a_non_finite_value_names_it(tmp_path: Path) -> None:
    record = make_record()
    assert record.history is not None
    entry = msgspec.structs.replace(record.history.steps[0], train_loss=float("nan"))
    history = msgspec.structs.replace(record.history, steps=(entry,))
    with (
        pytest.raises(ClsbenchError, match=r"train_loss|history\.steps"),
        run_directory(tmp_path, NAME) as directory,
    ):
        write_record(directory, msgspec.structs.replace(record, history=history))
    assert entries(tmp_path) == []
