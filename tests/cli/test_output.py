"""Lines for people on a terminal and in a pipe."""

from __future__ import annotations

import pytest
from rich.text import Text

from clsbench.cli.output import Line, print_lines

PATH = "/home/user/" + "a-long-folder/" * 8 + "file.json"


def test_print_lines_on_a_terminal_keeps_a_path_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_lines([Line(Text("  key  "), Text(f"found in {PATH} and in two other folders"))])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["  key  found in", f"       {PATH}", "       and in two other folders"]


def test_print_lines_in_a_pipe_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines([Line(Text("  key  "), Text(f"found in {PATH} and in two other folders"))])
    assert capsys.readouterr().out == f"  key  found in {PATH} and in two other folders\n"
