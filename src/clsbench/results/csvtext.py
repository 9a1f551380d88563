"""Lines of comma-separated values."""

from __future__ import annotations

from collections.abc import Iterable

_SPECIAL = frozenset(',"\r\n')


def csv_line(fields: Iterable[str]) -> str:
    """One line with its end, fields quoted where they must be.

    Python's own writer leaves a lone carriage return unquoted when lines end with a line feed, and
    its own reader then takes that for a line's end.
    """
    return ",".join(map(_field, fields)) + "\n"


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL & set(text) else text
