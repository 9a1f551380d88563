"""A saved GPT-2 checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gpt2_checkpoints import (
    language_model,
)
from gpt2_folders import SHAPE


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid checkpoint directory."""
    folder = tmp_path_factory.mktemp("checkpoint")
    language_model(SHAPE).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))
