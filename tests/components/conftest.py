"""The catalog, plugin files, and a folder of installed plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clsbench.components.catalog import Catalog, load_catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Writes a plugin file; modules imported from it are removed afterwards."""
    before = set(sys.modules)

    def make(source: str, name: str = "my_plugin.py") -> str:
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return str(path)

    yield make  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if name.startswith("clsbench_plugin_"):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on ``sys.path`` to install into; its modules are removed afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("dist_"):
            del sys.modules[name]
