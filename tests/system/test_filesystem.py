"""Files are written completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clsbench.system.filesystem import replace_text, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replace_text_over_a_file_replaces_it(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    replace_text(file, "old")
    replace_text(file, "new \udc80")
    assert file.read_text() == "new \\udc80"
    with pytest.raises(IsADirectoryError):
        replace_text(tmp_path, "a folder")
    assert names(tmp_path) == ["report.html"]


def test_replacing_interrupted_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    file.write_text("old")

    def interrupted() -> None:
        with replacing(file) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["plot.svg"]


def test_replace_text_of_a_link_writes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "file.csv")
    replace_text(tmp_path / "link.csv", "text")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "file.csv").read_text() == "text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_replace_text_of_a_device_writes_to_the_device() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        replace_text(Path("/dev/full"), "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_replace_text_of_redirected_standard_output_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "output.txt"
    file.write_text("old\n")
    script = (
        "import pathlib; from clsbench.system.filesystem import replace_text; "
        "replace_text(pathlib.Path('/dev/stdout'), 'new')"
    )
    with file.open("a") as output:
        done = subprocess.run([sys.executable, "-c", script], stdout=output, stderr=subprocess.PIPE)
    assert b"name that file instead" in done.stderr
    assert file.read_text() == "old\n"


def test_replacing_a_link_keeps_the_extension_of_the_link(tmp_path: Path) -> None:
    (tmp_path / "target.pdf").write_text("old")
    link = tmp_path / "link.svg"
    link.symlink_to("target.pdf")
    with replacing(link) as temporary:
        assert temporary.suffix == ".svg"
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "target.pdf").read_text() == "new"
