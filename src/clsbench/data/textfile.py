"""Decode a user's bytes to text; errors say what the bytes are instead and how to convert them."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Callable
from pathlib import Path

from clsbench.errors import UsageError

logger = logging.getLogger(__name__)

Setting = Callable[[str, str], str]
"""Formats a setting as the user writes it: ``("delimiter", ";")`` becomes ``delimiter=;`` for the
options of a data set and ``--delimiter ';'`` for the command line."""

_LINE_END = re.compile(r"\r\n|\r|\n")

_SIGNATURES = (
    (b"\x1f\x8b", "compressed with gzip", "decompress it first (gunzip -k FILE)"),
    (b"\xfd7zXZ\0", "compressed with xz", "decompress it first (unxz -k FILE)"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "decompress it first (unzstd FILE)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "extract the file of texts from it first"),
    (b"ARROW1\0\0", "an Arrow file", "convert it to CSV (pandas: read_feather, then to_csv)"),
    (b"SQLite format 3\0", "an SQLite database", "export a table of it as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "convert it to CSV (pandas: read_hdf, then to_csv)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "save the sheet as CSV UTF-8"),
    (b"%PDF-", "a PDF document", "copy its texts into a CSV file"),
    (b"version https://git-lfs.github.com/", "a Git LFS pointer", "fetch the file (git lfs pull)"),
)
"""The first bytes of files that users often pass instead of a table of texts."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; a longer one precedes the shorter one that it starts with."""


_NOT_OF_FILES = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")
"""Python codecs that are not meant for text files."""


def line_error(source: str, line: int, message: str) -> UsageError:
    """An error about one line of ``source``."""
    return UsageError(f"{source}, line {line}: {message}")


def read_text(path: Path, encoding: str, setting: Setting) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UsageError: it cannot be read, is not text in this encoding, or is empty.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a directory; name a file of texts")
        if path.is_char_device() or path.is_block_device():
            raise UsageError(f"{path} is a device; name a file of texts")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file (the working directory is {Path.cwd()})") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except MemoryError:
        raise UsageError(f"{path} cannot be read: it does not fit into memory") from None
    text = decode_text(data, str(path), encoding, setting)
    if not text.strip():
        raise UsageError(f"{path} is empty")
    return text


def decode_text(data: bytes, source: str, encoding: str, setting: Setting) -> str:
    """Text from bytes, without a byte order mark. It holds no NUL character.

    Raises:
        UsageError: the bytes are something other than text in this encoding; names the first
            wrong byte, its line, and the setting that may help.
    """
    try:
        if codecs.lookup(encoding).name in _NOT_OF_FILES:
            raise LookupError
        "".encode(encoding)  # refuses codecs between bytes and bytes
    except (LookupError, ValueError):
        raise UsageError(
            f"{encoding!r} is not a known character encoding; expected a name such as utf-8, "
            f"utf-16, latin-1 or cp1252 ({setting('encoding', 'utf-8')})"
        ) from None
    _refuse_other_formats(data, source)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _decoding_error(data, source, error, encoding, setting) from None
    except UnicodeError as error:  # UTF-16 and others without a byte order mark, idna
        raise UsageError(f"{source} is not valid {encoding}: {error}") from None
    if not encoding.lower().startswith("utf") and not data.isascii() and _is_utf8(data):
        logger.warning(
            "%s is valid UTF-8 but is read as %s; if its texts look wrong, use %s",
            source,
            encoding,
            setting("encoding", "utf-8"),
        )
    nul = text.find("\0")
    if nul >= 0:
        byte = len(text[:nul].encode(encoding, "replace"))
        other = "utf-16-le" if byte % 2 else "utf-16-be"
        raise line_error(
            source,
            _line_of(text[:nul]),
            f"a NUL character at offset {byte}, which is not text; if this is UTF-16 without a "
            f"byte order mark, use {setting('encoding', other)}",
        )
    return text.removeprefix("\ufeff")


def _decoding_error(
    data: bytes, source: str, error: UnicodeDecodeError, encoding: str, setting: Setting
) -> UsageError:
    at = error.start
    wrong = f"byte 0x{data[at]:02x} at offset {at}"
    for mark, marked in _MARKS:
        if data.startswith(mark) and not encoding.lower().startswith(marked):
            return line_error(
                source,
                1,
                f"{wrong} is not valid {encoding.upper()}; the file is written in "
                f"{marked.upper()}: use {setting('encoding', marked)}",
            )
    return line_error(
        source,
        _line_of(data[:at].decode(encoding, "replace")),
        f"{wrong} is not valid {encoding.upper()}; save the file as UTF-8, or give its encoding: "
        f"{setting('encoding', 'latin-1')} (or cp1252, utf-16 …)",
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _line_of(before: str) -> int:
    return len(_LINE_END.findall(before)) + 1


def _refuse_other_formats(data: bytes, source: str) -> None:
    for signature, what, advice in _SIGNATURES:
        if data.startswith(signature):
            raise UsageError(f"{source} is {what}, not a file of texts; {advice}")
    if data.startswith(b"PAR1") and data.endswith(b"PAR1") and len(data) > 8:
        raise UsageError(
            f"{source} is a Parquet file, not a file of texts; convert it to CSV (pandas: "
            "read_parquet, then to_csv)"
        )
    if data.startswith(b"BZh") and data[4:10] == b"1AY&SY":
        raise UsageError(
            f"{source} is compressed with bzip2, not a file of texts; decompress it first "
            "(bunzip2 -k FILE)"
        )
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        office = b"[Content_Types].xml" in data[:65_536] or b"mimetypeapplication/" in data[:100]
        raise UsageError(
            f"{source} is a spreadsheet or another Office document, not a file of texts; save the "
            "sheet as CSV UTF-8"
            if office
            else f"{source} is a zip archive, not a file of texts; extract the file of texts from "
            "it first (unzip FILE)"
        )
    if data[:500].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UsageError(
            f"{source} is an HTML page, not a file of texts; download the data itself rather than "
            "the page about it"
        )
