"""What goes to stdout: results, as exactly one JSON object or as text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from rich.text import Text


def write_json(value: Any) -> None:
    """Write ``value`` to stdout as strict JSON (what is not a number becomes null)."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        sys.stdout.write(text + "\n")
    else:  # JSON is UTF-8, whatever the terminal's encoding is
        sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.flush()


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send to stderr whatever libraries and plugins print meanwhile."""
    with redirect_stdout(sys.stderr):
        yield


class Line(NamedTuple):
    """A line whose body is wrapped behind its own beginning."""

    beginning: Text
    body: Text


def print_lines(lines: Iterable[Line]) -> None:
    """To a terminal wrapped under their own beginning, into a pipe as they stand."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        hang = len(line.beginning)
        if not console.is_terminal:
            console.print(line.beginning + line.body, soft_wrap=True)
            continue
        wrapped = line.body.wrap(console, max(console.width - hang, 20)) or [Text()]
        for number, part in enumerate(wrapped):
            console.print((Text(" " * hang) if number else line.beginning) + part)
