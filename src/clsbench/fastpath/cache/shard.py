"""A shard: rows of activations in a safetensors file with hashes of its content.

The header holds the SHA-256 of each row, and the file's name is the SHA-256 of the header, so every
changed byte is detected, and equal rows produce equal files in every run. The files are written
here, not by ``safetensors``, which writes the metadata in random order (so the name would vary) and
leaves temporary files behind when it is killed. SHA-256 is fast enough: with hardware support it
reaches 1.8 GB/s (BLAKE2b 1.2 GB/s). CRC-32 (6.3 GB/s) would save 0.2 s for 512 MB, but misses one
in four billion errors.

This module does not import torch, so that the command line counts rows quickly.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from typing import IO, NamedTuple

import msgspec

from clsbench.schema.decoding import DecodingError, decode_json

SUFFIX = ".safetensors"
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""The supported dtypes, by their safetensors names, and the size of an element in bytes."""

_PREFIX = struct.Struct("<Q")
_NAME_LENGTH = 32
_LONGEST_HEADER_BYTES = 100_000_000  # safetensors refuses longer ones
_CHUNK_BYTES = 1 << 20


class DamagedShardError(Exception):
    """A file does not have the content that its name identifies; the message gives the reason."""


class RowBytes(NamedTuple):
    """A row to write; ``data`` are its contiguous bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


class Place(msgspec.Struct, frozen=True):
    """The position of a row; ``data_offsets`` are the start and end in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Header(NamedTuple):
    """The content of a shard by row key; ``digest`` is that of the prefix's key."""

    digest: str
    size_bytes: int
    data_start: int
    places: dict[str, Place]
    sha256: dict[str, str]


class NewShard(NamedTuple):
    """A shard that has not been written yet."""

    name: str
    header: Header
    encoded_header: bytes
    contents: tuple[memoryview, ...]

    def write(self, file: IO[bytes]) -> None:
        """Write the shard to ``file``.

        Raises:
            OSError: it cannot be written.
        """
        file.write(self.encoded_header)
        for data in self.contents:
            file.write(data)


def seal(digest: str, rows: Mapping[str, RowBytes]) -> NewShard:
    """Lay out and hash the rows of one shard."""
    # Wide dtypes first, for alignment, then by key, so that equal rows produce equal files.
    keys = sorted(rows, key=lambda key: (-DTYPE_BYTES[rows[key].dtype], key))
    metadata = {"digest": digest}
    tree: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for key in keys:
        dtype, shape, data = rows[key]
        tree[key] = Place(dtype, shape, (end, end + data.nbytes))
        metadata[key] = hashlib.sha256(data).hexdigest()
        end += data.nbytes
    text = msgspec.json.encode(tree)
    text += b" " * (-len(text) % 8)  # aligns the data; allowed by the format
    encoded = _PREFIX.pack(len(text)) + text
    contents = tuple(rows[key].data for key in keys)
    return NewShard(_name(encoded), _decode(encoded), encoded, contents)


def read_header(file: FileIO, name: str) -> Header:
    """Read the header of the shard ``name`` and check the length of the file.

    Raises:
        DamagedShardError: the header or the length is wrong.
        OSError: the file cannot be read.
    """
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise DamagedShardError("it is truncated")
    (length,) = _PREFIX.unpack(prefix)
    if length > _LONGEST_HEADER_BYTES:
        raise DamagedShardError("its header is damaged")
    encoded = prefix + file.read(length)
    if _name(encoded) != name:
        raise DamagedShardError("its header is damaged")
    try:
        header = _decode(encoded)
    except (DecodingError, KeyError):
        raise DamagedShardError("its header has an unknown format") from None
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes != header.size_bytes:
        raise DamagedShardError(f"it has {size_bytes:,} bytes, expected {header.size_bytes:,}")
    return header


def intact_rows(file: FileIO, header: Header, keys: Iterable[str]) -> Iterator[str]:
    """The rows whose bytes match their hashes.

    The file is read, not mapped, so that a disk error raises an exception and does not kill the
    process.

    Raises:
        OSError: the file cannot be read.
    """
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    for key in sorted(keys, key=lambda key: header.places[key].data_offsets):
        start, end = header.places[key].data_offsets
        file.seek(header.data_start + start)
        digest = hashlib.sha256()
        missing = end - start
        while missing and (count := file.readinto(buffer[:missing])):
            digest.update(buffer[:count])
            missing -= count
        if not missing and digest.hexdigest() == header.sha256[key]:
            yield key


def _name(encoded_header: bytes) -> str:
    return hashlib.sha256(encoded_header).hexdigest()[:_NAME_LENGTH]


def _decode(encoded: bytes) -> Header:
    raw = decode_json(encoded[_PREFIX.size :], dict[str, msgspec.Raw])
    sha256 = decode_json(bytes(raw.pop("__metadata__")), dict[str, str])
    digest = sha256.pop("digest")
    places = {key: decode_json(bytes(text), Place) for key, text in raw.items()}
    end = max((place.data_offsets[1] for place in places.values()), default=0)
    return Header(digest, len(encoded) + end, len(encoded), places, sha256)
