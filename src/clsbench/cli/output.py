"""Write results to stdout, as one JSON object or as text."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from clsbench.errors import UsageError
from clsbench.system.printable import printable, wrapped

if TYPE_CHECKING:
    from rich.text import Text


def write_message(text: str, err: bool = False) -> None:
    """Write a message with invisible characters escaped, wrapped on a terminal."""
    shown = printable(text, keep="\n\t")
    if (sys.stderr if err else sys.stdout).isatty():
        shown = wrapped(shown, shutil.get_terminal_size().columns)
    click.echo(shown, err=err)


def write_data(text: str) -> None:
    """Write output for other programs to stdout, as UTF-8 in any locale.

    Pipes and files receive it unchanged; on a terminal invisible characters are escaped.
    """
    if sys.stdout.isatty():
        text = printable(text, keep="\n\t")
    click.echo(text.encode(errors="backslashreplace"), nl=False)


def write_json(value: Any) -> None:
    """Write ``value`` to stdout as strict JSON (NaN and infinity become null)."""
    from clsbench.schema.decoding import json_text

    write_data(json_text(value))


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Report a file that cannot be written inside the block.

    Raises:
        UsageError: names the file and the reason.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from None


def write_file(file: Path, text: str) -> None:
    """Write a text file, which appears complete or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    from clsbench.system.filesystem import replace_text

    with writing(file):
        replace_text(file, text)


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Redirect to stderr what libraries and plugins print inside the block."""
    with redirect_stdout(sys.stderr):
        yield


class Line(NamedTuple):
    """A line; ``body`` is wrapped with a hanging indent after ``beginning``."""

    beginning: Text
    body: Text


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines: in a pipe unwrapped, on a terminal wrapped between words.

    A path that is wider than the terminal is not broken, so that it can be copied.
    """
    from rich.text import Text

    from clsbench.report.terminal.console import Console

    console = Console(highlight=False)
    shown: list[Text] = []
    for line in lines:
        hang = len(line.beginning)
        if not console.is_terminal:
            shown.append(line.beginning + line.body)
            continue
        for number, part in enumerate(_wrapped(line.body, max(console.width - hang, 20))):
            shown.append((Text(" " * hang) if number else line.beginning) + part)
    if shown:  # a call for each line takes longer
        console.print(Text("\n").join(shown), soft_wrap=True)


def _wrapped(body: Text, width: int) -> Iterator[Text]:
    """Lines of at most ``width`` characters; a longer word has a line of its own."""
    from rich.cells import cell_len

    for line in body.split("\n", allow_blank=True):
        text, starts = line.plain, [0]
        for word in re.finditer(r"\S+", text):
            before = text[starts[-1] : word.start()]
            if before.strip() and cell_len(before + word[0]) > width:
                starts.append(word.start())
        yield from line.divide(starts[1:])
