"""Escape invisible characters in text, and wrap text to the width of a terminal."""

from __future__ import annotations

import re
import textwrap

_HIDDEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, ESC among them
    "\xad\u061c\u180e\u200b-\u200f\u2060-\u2064\ufeff"  # zero width: joiners, marks, soft hyphen
    "\u202a-\u202e\u2066-\u206f"  # change the direction of text
    "\u2028\u2029"  # separate lines and paragraphs
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters without a shape
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # format characters
    "\U000e0000-\U000e007f"  # tags
    "\ud800-\udfff"  # lone surrogates
    "\ufffe\uffff"  # not characters
    "]"
)

_BEFORE_UNIT = re.compile(r"(?<=[\d±]) (?=[\d°†]|(?:%|pp|[µmn]?s|min|h|[kMGT]?i?B)(?!\w))")
_UNBREAKABLE = "\0"


def printable(text: str, keep: str = "") -> str:
    r"""``text`` with each invisible character as an escape: ``\x1b``, ``\u202e``.

    Escaped are control characters, bidirectional overrides, zero-width and other invisible
    format characters, separators of lines and paragraphs, and lone surrogates. Everything else,
    including spaces of any width, is unchanged. Characters in ``keep`` are not escaped;
    ``keep="\n"`` keeps line breaks.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def wrapped(text: str, width: int) -> str:
    """``text`` with lines of at most ``width`` characters, broken between words only.

    A number is not separated from its unit. A word that is too long for a line is not broken, so
    that paths and commands can be copied. Indentation is kept.
    """
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    lines = textwrap.wrap(
        _BEFORE_UNIT.sub(_UNBREAKABLE, line),
        width,
        subsequent_indent=line[: len(line) - len(line.lstrip())],
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(lines).replace(_UNBREAKABLE, " ") or line


def _escaped(letter: str) -> str:
    code = ord(letter)
    if code < 0x80:
        return letter.encode("unicode_escape").decode("ascii")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
