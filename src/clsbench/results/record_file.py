"""Read the ``record.json`` of a run; problems are returned as text, not raised."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import msgspec

from clsbench.schema.decoding import DecodingError, decode_json, read_bytes
from clsbench.schema.experiment import COMPONENT_KEYS, ExperimentSpec, value_at
from clsbench.schema.older import upgrade_spec
from clsbench.schema.record import SCHEMA_VERSION, RunRecord

RECORD_FILE = "record.json"

_READABLE_VERSIONS = (1, SCHEMA_VERSION)

_NUMBER_BEYOND_64_BITS = re.compile(rb"[:,\[]\s*-?\d{19,}\s*[,\]}]")


class _Header(msgspec.Struct, frozen=True):
    """The fields that every version of a record has."""

    schema_version: int | None = None
    created: str = ""


def record_or_reason(file: Path) -> RunRecord | str:
    """The record in ``file``, or the reason why it cannot be used."""
    try:
        content = read_bytes(file)
    except FileNotFoundError:
        return f"{RECORD_FILE} is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    except DecodingError as error:
        return f"damaged: {error}"
    return decode_record(content)


def decode_record(content: bytes) -> RunRecord | str:
    """The record in JSON ``content``, or the reason why it cannot be used."""
    try:
        record = decode_json(content, RunRecord)
    except DecodingError as error:
        try:
            version = decode_json(content, _Header).schema_version
        except DecodingError:
            return f"damaged: {error}"
        return _other_version(version) or f"damaged: {error}"
    if reason := _other_version(record.schema_version):
        return reason
    spec = upgrade_spec(record.spec)
    record = msgspec.structs.replace(record, schema_version=SCHEMA_VERSION, spec=spec)
    return _problem(record, content) or record


def _problem(record: RunRecord, content: bytes) -> str:
    """A problem that type validation does not find; empty if there is none."""
    if _NUMBER_BEYOND_64_BITS.search(content):
        return "damaged: a number in it is out of range"
    try:
        datetime.fromisoformat(record.created)
    except ValueError:
        return f"damaged: created = {record.created[:80]!r} is not an ISO 8601 time"
    try:
        spec = msgspec.convert(record.spec, ExperimentSpec)
    except msgspec.ValidationError as error:
        return f"damaged: its spec: {error}"
    tree = msgspec.to_builtins(spec)
    components = [value_at(tree, key) for key in COMPONENT_KEYS]
    for table in (*components, *spec.baselines):
        if table is not None and not (
            isinstance(table, dict) and isinstance(table.get("name"), str)
        ):
            return "damaged: its spec holds a component without a name"
    return ""


def _other_version(version: int | None) -> str:
    """Why a record of this version cannot be read; empty if it can."""
    if version in _READABLE_VERSIONS:
        return ""
    if version is None:
        return "it has no schema_version, so it is not a clsbench record"
    age = "a newer" if version > SCHEMA_VERSION else "an older"
    readable = " and ".join(map(str, _READABLE_VERSIONS))
    return f"{age} clsbench wrote it (schema_version {version}; this one reads {readable})"


def created_in(file: Path) -> str:
    """The start time of the run of a record, as ISO 8601; empty if the record is damaged.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return decode_json(read_bytes(file), _Header).created
    except DecodingError:
        return ""
