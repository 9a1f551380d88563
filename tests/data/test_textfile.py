from __future__ import annotations

import gzip
import io
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from clsbench.data.textfile import decode_text, read_text
from clsbench.errors import UsageError


def decode(data: bytes, encoding: str = "utf-8") -> str:
    return decode_text(data, "t.csv", encoding, "--{} {}".format)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "text,label\n")
    return file.getvalue()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "é\n".encode()),
        ("utf-8", "\ufeffé\n".encode()),
        ("utf-16", "é\n".encode("utf-16")),
        ("utf-16-le", "\ufeffé\n".encode("utf-16-le")),
        ("utf-32", "é\n".encode("utf-32")),
        ("latin-1", b"\xe9\n"),
        ("cp1252", b"\xe9\n"),
    ],
)
def test_decode_text_gives_the_text_without_a_byte_order_mark(encoding: str, data: bytes) -> None:
    assert decode(data, encoding) == "é\n"


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"a\nb\xe9\n", "utf-8", r"t.csv, line 2: byte 0xe9 at offset 3 .*--encoding latin-1"),
        ("\n\nhé".encode("utf-16-le")[:-1], "utf-16-le", r"line 3: byte 0xe9 at offset 6"),
        ("a\n".encode("utf-16"), "utf-8", r"line 1: byte 0xff at offset 0 .*--encoding utf-16$"),
        ("a\n".encode("utf-32"), "utf-8", r"line 1: .*--encoding utf-32$"),
        ("\na".encode("utf-16-le"), "utf-8", r"NUL character at offset 1,.*--encoding utf-16-le$"),
        ("\na".encode("utf-16-be"), "utf-8", r"NUL character at offset 0,.*--encoding utf-16-be$"),
        (b"a\nb\0", "latin-1", r"line 2: a NUL character at offset 3"),
        (b"a", "utf-88", r"'utf-88' is not a known character encoding.*--encoding utf-8"),
        (b"a", "rot13", r"'rot13' is not a known"),
        (b"a", "a\0b", r"is not a known"),
        (gzip.compress(b"text\n"), "utf-8", r"^t.csv is compressed with gzip.*gunzip"),
        (gzip.compress(b"text\n"), "latin-1", r"^t.csv is compressed with gzip"),
        (zipped("a.csv"), "utf-8", r"^t.csv is a zip archive.*unzip"),
        (zipped("[Content_Types].xml", "xl/a"), "utf-8", r"is a spreadsheet.*CSV UTF-8"),
        (b"PAR1\x15\x04\x15\0PAR1", "utf-8", r"is a Parquet file.*convert it to CSV"),
        (b"<!DOCTYPE html>\n<html>", "utf-8", r"is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "utf-8", r"is a Git LFS pointer"),
    ],
    ids=lambda value: (
        "content" if isinstance(value, bytes) else None
    ),  # archives contain the time, so they are not stable ids
)
def test_decode_text_invalid_content_error_says_how_to_fix_it(
    data: bytes, encoding: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        decode(data, encoding)


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1\ntext", b"BZh9,label\n", b"PK,b\n", b"%PDF,b\n"])
def test_decode_text_resembling_another_format_is_accepted(data: bytes) -> None:
    assert decode(data) == data.decode()


def test_decode_text_latin_1_that_is_likely_utf_8_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert decode("é".encode(), "latin-1") == "Ã©"
    assert "t.csv is valid UTF-8 but is read as latin-1" in caplog.text


def test_read_text_refuses_devices_and_folders(tmp_path: Path) -> None:
    for path, said in ((Path("/dev/zero"), "is a device"), (tmp_path, "is a directory")):
        with pytest.raises(UsageError, match=said):
            read_text(path, "utf-8", "{}={}".format)


def test_read_text_of_a_file_larger_than_memory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    with file.open("wb") as opened:
        opened.truncate(4 << 30)  # a sparse file takes no disk space
    code = (
        "import resource, sys; from pathlib import Path; "
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); "
        "from clsbench.data.textfile import read_text; "
        "read_text(Path(sys.argv[1]), 'utf-8', '{}={}'.format)"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert done.stderr.endswith("t.csv cannot be read: it does not fit into memory\n")
