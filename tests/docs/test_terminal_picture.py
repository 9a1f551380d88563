"""The tool that draws a command's output for the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "terminal_picture.py"


def test_picture_shows_command_and_output_without_fonts_from_servers(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    subprocess.run([sys.executable, TOOL, picture, "list", "heads"], check=True, timeout=120)
    text = picture.read_text(encoding="utf-8")
    assert "list&#160;heads" in text
    assert "dropout" in text
    assert "@font-face" not in text
