"""Logging for tests of the fast path."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def warnings_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="clsbench")
