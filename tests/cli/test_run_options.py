"""Options of a run with a text format: invalid text is refused before anything is created."""

from __future__ import annotations

import pytest
from command_line import Command


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--cache-memory", "1MB\n"),
        ("--cache-memory", "9" * 400),
        ("--cache-disk", "9" * 400 + "MB"),
        ("--cache-disk", "20%"),
        ("--cache-memory", "200"),
        ("--device", "cpu\n"),
    ],
    ids=lambda text: ascii(text[:14]),
)
def test_run_options_invalid_text_is_refused(clsbench: Command, option: str, text: str) -> None:
    done = clsbench("run", "gpt2-sms-spam", "--offline", "--dry-run", option, text)
    assert (done.returncode, done.stdout) == (2, "")
    assert option in done.stderr
    if "cache" in option:
        assert "a size such as 200MB, 1.5GiB or 0" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
