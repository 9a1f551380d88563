"""Write lines of delimited values."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = frozenset('"\r\n')
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_line(fields: Iterable[str], guard_formulas: bool = False, delimiter: str = ",") -> str:
    """One line including its line end, with fields quoted where necessary.

    The ``csv`` module does not quote a lone carriage return if lines end with a line feed, and then
    reads it as a line end.

    With ``guard_formulas``, each field is passed through :func:`guarded_formula`.
    """
    if guard_formulas:
        fields = map(guarded_formula, fields)
    special = _SPECIAL | {delimiter}
    line = delimiter.join(_field(field, special) for field in fields)
    return (line or '""') + "\n"  # readers skip a blank line


def guarded_formula(text: str) -> str:
    """Prepend an apostrophe to text that a spreadsheet would evaluate as a formula.

    Such text begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break. Numbers such as
    ``-0.5`` are unchanged.
    """
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _field(text: str, special: frozenset[str]) -> str:
    return text if special.isdisjoint(text) else '"' + text.replace('"', '""') + '"'


def unique_names(names: Iterable[str]) -> list[str]:
    """Column names in order, with ``_2``, ``_3`` … appended to duplicates."""
    chosen: dict[str, None] = {}
    for name in names:
        candidate, count = name, 1
        while candidate in chosen:
            count += 1
            candidate = f"{name}_{count}"
        chosen[candidate] = None
    return list(chosen)
