"""Contents and addresses for tests of downloads."""

from __future__ import annotations

CONTENT = bytes(range(256)) * 500
