"""The errors a user can meet. The command line prints their text without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ClsbenchError(Exception):
    """What went wrong, where, what was expected and what to do about it."""

    exit_code = 1


class UsageError(ClsbenchError):
    """What the user asked for or named (spec, option, file, device) is wrong or missing."""

    exit_code = 2


class RunFailedError(ClsbenchError):
    """A run failed once training had begun. ``path`` is where what it did is stored."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(f"{reason}; what was done is kept in {path}")
        self.path = path


class PluginError(UsageError):
    """A plugin cannot be loaded, or hands over something that breaks its contract."""


class AssetError(ClsbenchError):
    """A catalogued asset cannot be had, or its content has the wrong hash."""

    exit_code = 3


class NotMeasuredError(ClsbenchError):
    """Nothing can be said of what was to be timed, since it could not be."""

    exit_code = 4


def closest_match_hint(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the choice nearest to ``name``, else the list of choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from: {', '.join(known)}" if known else ""
