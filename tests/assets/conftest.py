"""Every test of assets has caches of its own, and may have a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from asset_server import caches as caches
from asset_server import hub as hub
from asset_server import server as server


@pytest.fixture(autouse=True)
def _isolated(caches: Path) -> None:
    """No test sees the user's caches."""
