"""Decode text, JSON, TOML and safetensors headers from files that may be damaged or hostile.

Every failure is a :class:`DecodingError`, whose text says what is wrong with the content. The
caller adds the name of the file. :func:`json_text` is the one writer of JSON files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from clsbench.errors import UsageError

LARGEST_BYTES = 256 << 20
"""The largest file of JSON or TOML that is read."""

DEEPEST_NESTING = 100
"""Deeper nesting is refused, so that recursive code cannot exhaust the stack."""

_LONGEST_REASON = 300
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# The memory of tomllib grows with the square of a dotted key's parts: 100,000 parts take 40 GB.
_TOML_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_DEEP_TOML_KEY = re.compile(
    rf"(?:^|[\[{{,])[ \t]*+{_TOML_KEY_PART}(?:\.[ \t]*+{_TOML_KEY_PART}){{{DEEPEST_NESTING}}}",
    re.MULTILINE,
)

T = TypeVar("T")


class DecodingError(UsageError):
    """Content does not conform to its format. The text gives the reason, without the file."""


def read_bytes(path: Path, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """The content of a file of at most ``largest_bytes``.

    Raises:
        OSError: it cannot be read.
        DecodingError: it is larger.
    """
    with _decoding_errors(), path.open("rb", buffering=0) as file:
        content = bytearray()
        while chunk := file.read(min(largest_bytes + 1 - len(content), 1 << 24)):
            content += chunk
            if len(content) > largest_bytes:
                raise DecodingError(f"it has more than {largest_bytes:,} bytes")
        return bytes(content)


def decode_utf8(content: bytes) -> str:
    """The text that UTF-8 bytes hold, without a byte order mark.

    Raises:
        DecodingError: they are not UTF-8.
    """
    with _decoding_errors():
        return content.decode("utf-8-sig")


@overload
def decode_json(content: bytes | str) -> Any: ...
@overload
def decode_json(content: bytes | str, kind: type[T]) -> T: ...
def decode_json(content: bytes | str, kind: Any = Any) -> Any:
    """The value that JSON describes, validated as ``kind``.

    Raises:
        DecodingError: it is not valid JSON, or its value is not a ``kind``.
    """
    with _decoding_errors():
        encoded = content.encode("utf-8") if isinstance(content, str) else content
        if _is_deep(encoded):
            raise RecursionError
        return msgspec.json.decode(encoded, type=kind)


def json_text(value: Any) -> str:
    """``value`` as indented JSON with a final line break; NaN and infinity become ``null``."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def decode_toml(text: str) -> dict[str, Any]:
    """The table that TOML describes.

    Raises:
        DecodingError: it is not valid TOML; the text includes the line.
    """
    import tomllib

    with _decoding_errors():
        if _DEEP_TOML_KEY.search(text):
            raise RecursionError
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise DecodingError(_with_line(error, text)) from None
        _refuse_deep(tree)
        return tree


def tensor_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises:
        DecodingError: it is not a whole safetensors file.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with _decoding_errors():
        try:
            with safe_open(path, framework="np") as file:
                return file.metadata() or {}
        except SafetensorError as error:
            raise DecodingError(_shortened(str(error))) from None


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can encode the text: it contains no lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_deep(encoded: bytes) -> bool:
    """Whether JSON is nested deeper than :data:`DEEPEST_NESTING`."""
    if encoded.count(b"[") + encoded.count(b"{") <= DEEPEST_NESTING:
        return False
    # Strings with brackets are rare, and finding strings is slow.
    return _folds_deep(encoded) and _folds_deep(_JSON_STRING.sub(b"", encoded))


def _folds_deep(encoded: bytes) -> bool:
    brackets = encoded.translate(None, _NOT_BRACKETS)
    for _ in range(DEEPEST_NESTING):
        folded = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(folded) == len(brackets):  # the rest is unbalanced
            return len(brackets) > DEEPEST_NESTING
        brackets = folded
    return bool(brackets)


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST_NESTING):
        level = [inner for outer in level for inner in _inner_values(outer)]
        if not level:
            return
    raise RecursionError


def _inner_values(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, Mapping) else value
    return list(values) if isinstance(value, list | Mapping) else []


@contextmanager
def _decoding_errors() -> Iterator[None]:
    """Raise :class:`DecodingError` for everything that a decoder may raise."""
    try:
        yield
    except DecodingError:
        raise
    except RecursionError:
        raise DecodingError("it is nested too deeply") from None
    except MemoryError:
        raise DecodingError("it does not fit into memory") from None
    except UnicodeDecodeError as error:
        wrong = error.object[error.start]
        raise DecodingError(f"byte {error.start:,} (0x{wrong:02x}) is not UTF-8") from None
    except UnicodeEncodeError as error:
        raise DecodingError(f"character {error.start:,} cannot be written in UTF-8") from None
    except ValueError as error:  # msgspec's, and Python's for integers of more than 4,300 digits
        raise DecodingError(_shortened(str(error))) from None


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 1] + "…"


def _with_line(error: ValueError, text: str) -> str:
    found = re.search(r"at line (\d+)", str(error))
    lines = text.rstrip().split("\n")  # TOML's own idea of a line
    number = min(int(found.group(1)) if found else len(lines), len(lines))
    return f"{_shortened(str(error))}\n  line {number}: {_shortened(lines[number - 1].strip())}"
