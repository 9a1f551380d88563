"""Warnings about the classes of a corpus before training: near-duplicates, placeholders, rare."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

MOST_RARE = 4
"""A class with at most this many texts is too rare to be learned or measured."""

PLACEHOLDERS = frozenset(
    ("", "-", "--", "—", ".", "?", "??", "none", "null", "nil", "nan", "nat", "na", "n/a", "#n/a")
) | {"<na>", "unknown", "undefined", "unlabeled", "unlabelled", "missing", "empty", "blank", "tbd"}
"""Placeholders for a missing label, as normalized by :func:`_plain`."""

MOST_NAMED = 8
_LONGEST_NAME = 60


def label_warnings(counts: Mapping[str, int]) -> list[str]:
    """Warnings about the classes; ``counts`` holds the number of texts by class."""
    return [*_look_alikes(counts), *_placeholders(counts), *_rare(counts)]


def named(names: Sequence[str]) -> str:
    """The class names in quotes, at most the first :data:`MOST_NAMED`."""
    shown = ", ".join(_short(repr(name)) for name in names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _look_alikes(counts: Mapping[str, int]) -> Iterable[str]:
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(_plain(name), []).append(name)
    alike = [names for names in groups.values() if len(names) > 1]
    for names in alike[:MOST_NAMED]:
        # In ASCII: names that look alike differ visibly only in their escapes.
        cased = len({name.casefold() for name in names}) == 1
        written = [_short(repr(name) if cased else ascii(name)) for name in names[:MOST_NAMED]]
        each = [f"{n} ({counts[name]:,})" for n, name in zip(written, names, strict=False)]
        yield (
            f"the classes {', '.join(each)} differ only in {_difference(names)}; if they are "
            "one class, use one spelling of its label"
        )
    if len(alike) > MOST_NAMED:
        yield f"{len(alike) - MOST_NAMED} more groups of classes look alike"


def _difference(names: Sequence[str]) -> str:
    """In what respects names differ that :func:`_plain` makes equal."""
    steps = (
        ("case", str.casefold),
        ("spaces", _without_spaces),
        ("invisible characters", _without_invisible),
        ("their Unicode form", lambda name: unicodedata.normalize("NFKC", name)),
    )
    for what, simplify in steps:
        if len({simplify(name) for name in names}) == 1:
            return what
    said: list[str] = []
    for what, _ in steps:  # whether they still differ once every other difference is removed
        left = list(names)
        for other, simplify in steps:
            if other != what:
                left = [simplify(name) for name in left]
        if len(set(left)) > 1:
            said.append(what)
    return " and ".join(said) or "how they are written"


def _plain(name: str) -> str:
    """The name normalized in case, spaces, invisible characters and Unicode form."""
    simple = unicodedata.normalize("NFKC", _without_invisible(name)).casefold()
    return _without_spaces(unicodedata.normalize("NFKC", simple))


def _without_spaces(name: str) -> str:
    return "".join(name.split())


def _without_invisible(name: str) -> str:
    """Without format and control characters and variation selectors; spaces of any kind stay."""
    return "".join(
        c
        for c in name
        if c.isspace() or not (unicodedata.category(c) in ("Cc", "Cf") or "\ufe00" <= c <= "\ufe0f")
    )


def _placeholders(counts: Mapping[str, int]) -> Iterable[str]:
    plain = {name: _plain(name) for name in counts}
    signs = {"+", "-"} <= set(plain.values())  # a minus beside a plus is a class
    found = [
        name
        for name in counts
        if plain[name] in PLACEHOLDERS and not (signs and plain[name] == "-")
    ]
    if found:
        texts = sum(counts[name] for name in found)
        yield (
            f"{named(found)} ({texts:,} texts) may stand for a missing label; if so, remove these "
            "rows or label them"
        )


def _rare(counts: Mapping[str, int]) -> Iterable[str]:
    found = sorted((n for n in counts if counts[n] <= MOST_RARE), key=lambda name: counts[name])
    if found:
        yield (
            f"{len(found)} of {len(counts)} classes have {MOST_RARE} texts or fewer, too few to "
            f"learn or to measure: {named(found)}; add texts, merge classes or leave them out"
        )
