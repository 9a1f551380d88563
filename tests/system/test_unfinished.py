"""Leftovers of killed processes, and their removal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from record_examples import make_record

from clsbench.results.store import run_directory, write_record
from clsbench.system.filesystem import replace_text
from clsbench.system.unfinished import held, sweep, temporary_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="without flock what is new is left")

WRITER = """
import sys, time
from pathlib import Path
from clsbench.results.store import run_directory
from clsbench.system.unfinished import temporary_folder
place = Path(sys.argv[1])
with run_directory(place, "a-run") as run, temporary_folder(place, ".clsbench-unfinished-") as text:
    (run / "weights").write_bytes(b"0" * 1000)
    (text / "text").write_text("half")
    print("ready", flush=True)
    time.sleep(1000)
"""


def unfinished(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if "unfinished" in path.name)


def test_sweep_removes_folders_of_a_killed_process(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    with run_directory(tmp_path, "other") as directory:
        write_record(directory, make_record())
    replace_text(tmp_path / "report.html", "text")
    assert len(unfinished(tmp_path)) == 2, "the writer is alive"
    writer.kill()
    writer.wait()
    assert len(unfinished(tmp_path)) == 2
    replace_text(tmp_path / "report.html", "text")
    assert unfinished(tmp_path) == [".unfinished-a-run"]
    with run_directory(tmp_path, "a-run") as directory:
        write_record(directory, make_record())
    assert unfinished(tmp_path) == []
    assert (tmp_path / "a-run" / "record.json").is_file()
    assert not (tmp_path / "a-run" / "weights").exists()


def test_sweep_keeps_other_names_and_held_folders(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / ".x-file").write_text("left")
    (tmp_path / ".x-link").symlink_to(tmp_path / "mine")
    with temporary_folder(tmp_path, ".x-") as folder:
        sweep(tmp_path, ".x-")
        assert folder.is_dir()
        assert not (tmp_path / ".x-file").exists()
    assert not folder.exists()
    assert (tmp_path / "mine").is_dir()


def test_held_missing_folder_gives_false(tmp_path: Path) -> None:
    with held(tmp_path / "gone") as there:
        assert not there
