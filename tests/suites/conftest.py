"""Fixtures for tests of suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsbench.components.catalog import Catalog, load_catalog
from clsbench.schema.options import RunOptions


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(out=tmp_path / "runs", device="cpu", threads=1, offline=True, curves=False)
