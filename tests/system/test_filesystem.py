"""Files are written completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
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
