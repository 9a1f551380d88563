"""Saved GPT-2 checkpoints that tests damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gpt2_checkpoints import (
    MINIATURES,
)

from clsbench import UsageError
from clsbench.builtin.backbones.gpt2 import GPT2

SHAPE = MINIATURES["small"]


def edit_config(checkpoint: Path, **changes: Any) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))


def assert_refused(path: Path | str, *parts: str) -> None:
    """Assert that each method that a run calls before training raises the same error."""
    backbone = GPT2(weights=str(path))
    messages = set()
    for method in (backbone.user_files, backbone.hidden_size, backbone.describe):
        with pytest.raises(UsageError) as caught:
            method()
        messages.add(str(caught.value))
        assert caught.value.exit_code == 2
    with pytest.raises(UsageError) as caught:
        backbone.build({})
    (message,) = messages | {str(caught.value)}
    assert str(path) in message
    for part in parts:
        assert part in message, message
