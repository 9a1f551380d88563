"""Separate caches for each test of assets; a server on demand."""

from __future__ import annotations

from pathlib import Path

import pytest
from asset_server import caches as caches
from asset_server import hub as hub
from asset_server import server as server


@pytest.fixture(autouse=True)
def _isolated(caches: Path) -> None:
    """Hide the user's caches."""
