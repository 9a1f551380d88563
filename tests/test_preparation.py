"""The files that a user named are checked before anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

import clsbench


def test_a_file_that_is_not_there_is_told_with_its_component(tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    with pytest.raises(clsbench.UsageError, match=r"^dataset 'csv': there is no file .*missing"):
        clsbench.run(
            "gpt2-sms-spam", dataset=f"csv:path={missing}", out=tmp_path / "runs", offline=True
        )
