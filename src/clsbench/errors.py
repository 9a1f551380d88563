"""The errors that clsbench raises. The command line prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ClsbenchError(Exception):
    """Base class. The message says what is wrong, where, what was expected and how to fix it."""

    exit_code = 1


class UsageError(ClsbenchError):
    """A spec, option, file or device that the user named is invalid or missing."""

    exit_code = 2


class RunFailedError(ClsbenchError):
    """A run failed after training had begun. ``path`` is the folder with its partial results."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(f"{reason}; partial results are kept in {path}")
        self.path = path


class PluginError(UsageError):
    """A plugin cannot be loaded, or returns something that breaks its contract."""


class DataError(UsageError):
    """The texts or labels are invalid, or do not allow the requested splits, sizes or metric."""


class UndefinedMetricError(DataError):
    """A metric is undefined for the texts of a split, for example if all have the same class."""


class AssetError(ClsbenchError):
    """A registered asset is unavailable, or its content has the wrong hash."""

    exit_code = 3


class NotMeasuredError(ClsbenchError):
    """The requested timing could not be measured."""

    exit_code = 4


def closest_match_hint(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest match to ``name``, else the list of choices."""
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose from: {', '.join(known)}" if known else ""
