"""Logging for tests of the disk cache."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="clsbench")
