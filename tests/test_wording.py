"""Texts that people read avoid words that make them hard to understand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEARCHED = ("src", "plugins", "tests", "docs", "README.md", "benchmarks")
SUFFIXES = {".py", ".pyi", ".md", ".html", ".js"}
AVOIDED = re.compile(r"\b(tells?|told|telling|nobody|whoever|somebody|is\s+no)\b", re.IGNORECASE)
ALLOWED: tuple[tuple[str, str], ...] = (
    ("tests/test_wording.py", ""),
    ("src/clsbench/builtin/tuners.py", "study.tell("),
)
"""Lines that may contain such a word: a file, and a part of the line."""


def occurrences() -> Iterator[tuple[str, int, str]]:
    """The file, number and text of each line with an avoided word, allowed lines excepted."""
    for name in SEARCHED:
        top = ROOT / name
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for file in files:
            if file.suffix not in SUFFIXES or "egg-info" in str(file):
                continue
            path = file.relative_to(ROOT).as_posix()
            for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
                allowed = any(path == each and part in line for each, part in ALLOWED)
                if AVOIDED.search(line) and not allowed:
                    yield path, number, line


def test_texts_avoid_unclear_words() -> None:
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in occurrences()]
    assert not found, "\n".join(found)
