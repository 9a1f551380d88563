from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

import clsbench
from clsbench.report.terminal.console import Console

HOSTILE = "a\x1b[31mb\x1b]0;t\x07\x9bc\u202ed\x7f"
STYLES = re.compile(r"\x1b\[[0-9;?]*[mKAhlJ]")


def printed(what: object, **options: bool) -> str:
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=80).print(what, **options)
    return STYLES.sub("", file.getvalue())


@pytest.mark.parametrize("options", [{}, {"soft_wrap": True}, {"markup": False}])
def test_console_hostile_text_is_escaped(options: dict[str, bool]) -> None:
    text = printed(Text(HOSTILE, "bold red"), **options)
    assert text == "a\\x1b[31mb\\x1b]0;t\\u009bc\\u202ed\\x7f\n"


def test_console_hostile_cell_keeps_the_table_in_line() -> None:
    table = Table("left", "right")
    table.add_row(Text(HOSTILE), "x")
    table.add_row("plain", "x")
    lines = printed(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "\\x1b" in "".join(lines)


def test_console_live_display_moves_the_cursor_and_escapes_text() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with Live(Text(HOSTILE), console=console, auto_refresh=False) as live:
        live.update(Text(HOSTILE), refresh=True)
    assert not set("\x07\x9b\u202e\x7f") & set(file.getvalue())
    assert "\x1b" not in STYLES.sub("", file.getvalue())


def test_console_prose_is_wrapped_between_words_on_a_terminal_only() -> None:
    text = "this row is correct on 95.67 % of the texts"
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=28).prose(text, "dim")
    lines = STYLES.sub("", file.getvalue()).splitlines()
    assert lines == ["this row is correct on", "95.67 % of the texts"]
    file = io.StringIO()
    Console(file=file, width=28).prose(text)
    assert file.getvalue() == f"{text}\n"


def test_console_is_the_only_one_in_the_package() -> None:
    package = Path(clsbench.__file__).parent
    others = [
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"from rich\.console import .*\bConsole\b", file.read_text(encoding="utf-8"))
    ]
    assert others == []
