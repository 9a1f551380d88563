"""What the fixture ``clsbench`` of these tests is."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

Command = Callable[..., CompletedProcess[str]]
