"""Errors of devices outside of runs, as in ``clsbench bench`` and ``predict``, in one line."""

from __future__ import annotations

import pytest
from failing_devices import ASSERT, MEMORY

from clsbench.cli.errors import report_unexpected


@pytest.mark.parametrize(
    ("error", "line", "advice"),
    [
        (
            MEMORY,
            "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a",
            "Try --precision bf16 or another device (--device)",
        ),
        (
            ASSERT,
            "the device failed: CUDA error: device-side assert triggered. Check it",
            "or choose another one (--device)",
        ),
    ],
    ids=["memory", "failure"],
)
def test_report_unexpected_device_error_is_shown_as_one_line(
    error: Exception, line: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_unexpected(error, verbose=False) == 1
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.startswith(f"error: {line}")
    assert shown.endswith(advice), "options of every command"
    assert "bug" not in shown
