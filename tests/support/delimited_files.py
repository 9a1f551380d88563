"""Files of the data set ``csv``, and what loading them gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clsbench
from clsbench.builtin.datasets.delimited_file import DelimitedFile

Write = Callable[..., Path]

HEADER = "text,label\n"


def load(path: Path, **options: Any) -> clsbench.Corpus:
    return DelimitedFile(path=str(path), **options).load({})


def complaint(path: Path, **options: Any) -> str:
    """The message of the error from loading; it names the file."""
    with pytest.raises(clsbench.UsageError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert str(path) in message
    return message


# --- accepted files -------------------------------------------------------------------------------
