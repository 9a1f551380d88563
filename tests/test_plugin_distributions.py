"""The distributions in ``plugins`` use the public API alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PUBLIC = {"clsbench", "clsbench.data", "clsbench.executors", "clsbench.testing"}
DISTRIBUTIONS = sorted(path.parent for path in (REPOSITORY / "plugins").glob("*/pyproject.toml"))


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda path: path.name)
def test_plugin_distribution_imports_only_public_modules(distribution: Path) -> None:
    for file in sorted((distribution / "src").rglob("*.py")):
        own = {name for name in imported(file) if name.partition(".")[0] == "clsbench"}
        assert own <= PUBLIC, file
