"""The output of a command on a terminal of a given width."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import NamedTuple

_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shown(NamedTuple):
    """The output on a terminal: raw, and without colors and cursor movements."""

    received: str
    text: str
    code: int


def on_a_terminal(
    width: int, *arguments: object, env: dict[str, str] | None = None, text_in: str = ""
) -> Shown:
    """Run ``clsbench`` with stdout and stderr on a terminal that has ``width`` columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", **(env or {})}
    with subprocess.Popen(
        [sys.executable, "-m", "clsbench", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "COLUMNS": str(width)},
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(text_in.encode())
        process.stdin.close()
        received = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            received += block
    os.close(ours)
    text = received.decode().replace("\r\n", "\n")
    return Shown(text, _STYLES.sub("", text), process.returncode)
