"""Run a ``clsbench`` command and draw what it prints in a terminal as SVG, for the documentation.

python tools/terminal_picture.py docs/run.svg run gpt2-sms-spam --offline --threads 1
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDTH = 100


def main(picture: Path, arguments: list[str]) -> None:
    """Write the picture.

    Raises:
        CalledProcessError: the command failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "clsbench", *arguments],
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(_WIDTH), "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text(f"$ clsbench {shlex.join(arguments)}", "bold"))
    console.print(Text.from_ansi(done.stdout))
    svg = console.export_svg(title="clsbench")
    # Without fonts from other servers.
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
