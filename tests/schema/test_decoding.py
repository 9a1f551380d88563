"""Decoders raise one kind of error for any invalid content."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from clsbench.schema.decoding import (
    DEEPEST_NESTING,
    DecodingError,
    decode_json,
    decode_toml,
    decode_utf8,
    json_text,
    read_bytes,
    tensor_metadata,
)

DEEP = 100_000
LONG_NUMBER = "9" * 5000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a":' * DEEP, "nested too deeply"),
        ("[" * DEEP, "nested too deeply"),
        ("[" * (DEEPEST_NESTING + 1) + "]" * (DEEPEST_NESTING + 1), "nested too deeply"),
        ("[" * DEEP + '"[]"' + "]" * DEEP, "nested too deeply"),
        (LONG_NUMBER, "out of range"),
        ("1e999", "out of range"),
        ("NaN", "malformed"),
        ("", "truncated"),
        ('{"a": 1', "truncated"),
        (b'"\xff"', "UTF-8"),
        ('"\ud800"', "UTF-8"),
        ('"\\ud800"', ""),
        ('{"a": 1,}', "malformed"),
        ('{"a": "' + "x" * 100_000, "truncated"),
    ],
)
def test_decode_json_bad_content_raises_decoding_error(content: str | bytes, reason: str) -> None:
    with pytest.raises(DecodingError) as caught:
        decode_json(content)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500


def test_decode_json_brackets_in_text_are_not_nesting() -> None:
    text = "[{" * 500 + '"\\'
    value = [[text], {text: [text]}]
    assert decode_json(json.dumps(value)) == value


def test_decode_json_deepest_allowed_nesting_is_read() -> None:
    content = "[" * DEEPEST_NESTING + "]" * DEEPEST_NESTING
    assert decode_json(content) is not None


def test_decode_json_value_of_another_kind_raises_decoding_error() -> None:
    with pytest.raises(DecodingError, match=r"Expected `int`"):
        decode_json('{"a": "x"}', dict[str, int])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * DEEP, "nested too deeply"),
        ("a = " + "[" * 200 + "]" * 200, "nested too deeply"),
        ("a." * DEEP + "b = 1", "nested too deeply"),
        ("[" + '"a" . ' * DEEP + "b]", "nested too deeply"),
        (f"a = {LONG_NUMBER}", "4300"),
        ("a = 1\nb = ", "line 2: b ="),
        ("a = " + "x" * 100_000, "line 1: a = xxx"),
    ],
    ids=["unclosed", "arrays", "dotted", "quoted", "number", "syntax", "long"],
)
def test_decode_toml_bad_content_raises_decoding_error(text: str, reason: str) -> None:
    with pytest.raises(DecodingError) as caught:
        decode_toml(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_decode_toml_many_short_words_are_read() -> None:
    sentence = "e.g. " * 1000
    assert decode_toml(f'description = "{sentence}"\na.b.c = 1')["description"] == sentence


def test_decode_utf8_byte_order_mark_is_skipped() -> None:
    assert decode_utf8(b"\xef\xbb\xbfa") == "a"


def test_decode_utf8_latin_1_raises_decoding_error_with_the_byte() -> None:
    with pytest.raises(DecodingError, match=r"byte 3 \(0xe9\) is not UTF-8"):
        decode_utf8(b"caf\xe9")


def test_read_bytes_file_over_the_limit_raises_decoding_error(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)  # a sparse file takes no disk space
    with pytest.raises(DecodingError, match=r"more than 1,000 bytes"):
        read_bytes(file, 1000)


def _tensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _header(metadata: Any) -> bytes:
    return json.dumps({"__metadata__": metadata}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        struct.pack("<Q", 2**63),
        _tensors(b'{"a":' * DEEP),
        _tensors(b"\xff" * 8),
        _tensors(_header({"a": 1})),
        _tensors(_header({"a": "b"}))[:-1],
    ],
    ids=["empty", "short", "huge", "deep", "text", "number", "cut"],
)
def test_tensor_metadata_damaged_file_raises_decoding_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(DecodingError):
        tensor_metadata(file)


def test_tensor_metadata_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(_tensors(_header({"a": "b"})))
    assert tensor_metadata(file) == {"a": "b"}


def test_json_text_is_indented_and_reads_back() -> None:
    assert json_text({"a": [1, "ü"]}) == '{\n  "a": [\n    1,\n    "ü"\n  ]\n}\n'
    assert decode_json(json_text({"loss": float("nan"), "b": 0.1})) == {"loss": None, "b": 0.1}
