"""The output of a command on a terminal of a given width."""

from __future__ import annotations

import os
import pty
import re
import threading
from pathlib import Path
from typing import NamedTuple

from command_line import call_in_process

from clsbench.cli.main import main

_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shown(NamedTuple):
    """The output on a terminal: raw, and without colors and cursor movements."""

    received: str
    text: str
    code: int


def on_a_terminal(
    width: int, *arguments: object, env: dict[str, str] | None = None, text_in: str = ""
) -> Shown:
    """Run ``clsbench`` in this process, with stdout and stderr on a terminal of ``width`` columns.

    Its columns are set by the environment.
    """
    ours, theirs = pty.openpty()
    received = bytearray()

    def receive() -> None:
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                return
            received.extend(block)

    reader = threading.Thread(target=receive)
    reader.start()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", **(env or {})}
    with open(theirs, "w", encoding="utf-8") as terminal:
        code = call_in_process(
            main,
            [str(argument) for argument in arguments],
            {**environment, "COLUMNS": str(width)},
            Path.cwd(),
            terminal,
            terminal,
            text_in,
        )
    reader.join()
    os.close(ours)
    text = received.decode().replace("\r\n", "\n")
    return Shown(text, _STYLES.sub("", text), code)
