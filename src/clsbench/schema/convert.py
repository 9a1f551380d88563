"""Convert plain values to structs, with errors for users."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from clsbench.errors import UsageError, closest_match_hint
from clsbench.schema.decoding import DEEPEST_NESTING, DecodingError, decode_toml, is_encodable

T = TypeVar("T")


def convert(value: Any, kind: type[T], where: str) -> T:
    """Convert plain values, numbers and arrays in text included, into a struct.

    Raises:
        UsageError: names ``where``, the key, what was expected and the close match.
    """
    value = _read_arrays(value, kind)
    _refuse_unstorable(value, where, ())
    try:
        converted = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {_explain(str(error), value, kind)}") from None
    _refuse_unstorable(converted, where, ())
    return converted


@functools.cache
def struct_fields(kind: type) -> tuple[inspect.Field, ...]:
    """msgspec's description of the fields of a struct class, which is slow to make.

    Raises:
        Exception: an annotation cannot be resolved.
    """
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _read_arrays(value: Any, kind: Any) -> Any:
    """Parse text that begins like a TOML array or table if the struct expects no text."""
    if not isinstance(value, Mapping) or not any(map(_looks_like_toml, value.values())):
        return value
    described = inspect.type_info(kind)  # slow, and needed for such text only
    fields = described.fields if isinstance(described, inspect.StructType) else ()
    no_text = {field.encode_name for field in fields if _is_collection(field.type)}
    return {
        key: parse_value(item) if key in no_text and _looks_like_toml(item) else item
        for key, item in value.items()
    }


def _looks_like_toml(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith(("[", "{"))


def _is_collection(described: inspect.Type) -> bool:
    if isinstance(described, inspect.Metadata):
        described = described.type
    kinds = described.types if isinstance(described, inspect.UnionType) else (described,)
    return not any(
        isinstance(k, inspect.StrType | inspect.AnyType | inspect.Metadata) for k in kinds
    ) and any(isinstance(k, inspect.CollectionType | inspect.DictType) for k in kinds)


def _refuse_unstorable(value: Any, where: str, keys: tuple[str, ...]) -> None:
    """Refuse values that TOML or JSON cannot represent, or that no run can use."""
    problem = None
    if len(keys) > DEEPEST_NESTING:
        raise UsageError(f"{where}: {_shortened('.'.join(keys))} is nested too deeply")
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not is_encodable(str(key)):
                problem = f"the key {key!r} is not text in UTF-8"
            _refuse_unstorable(item, where, (*keys, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_unstorable(item, where, (*keys, str(index)))
    elif isinstance(value, float) and not math.isfinite(value):
        problem = "expected a finite number"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        problem = "number out of range"
    elif isinstance(value, str) and not is_encodable(value):
        problem = "it is not text in UTF-8"
    if problem:
        raise UsageError(f"{where}: {'.'.join(keys) or 'value'} = {_shortened(value)}: {problem}")


def parse_value(text: str) -> Any:
    """A value from the command line: a TOML array or table if it is a valid one, else text."""
    if not _looks_like_toml(text):
        return text
    try:
        return decode_toml(f"value = {text}")["value"]
    except DecodingError:
        return text


def _toml_problem(value: Any) -> str:
    """Why text that begins like a TOML array or table is not one."""
    if not _looks_like_toml(value):
        return ""
    try:
        decode_toml(f"value = {value}")
    except DecodingError as error:
        return f"; it is not a valid TOML value: {error}"
    return ""


# --- the message ---------------------------------------------------------------------------------


def _explain(message: str, value: Any, kind: Any) -> str:
    """Turn msgspec's ``Expected `int` >= 1 - at `$.train.epochs``` into words with the value."""
    what, _, path = message.partition(" - at `$")
    keys = [key for key in re.split(r"[.\[\]]+", path.rstrip("`")) if key]
    unknown = re.match(r"Object contains unknown field `(.*)`", what)
    if unknown:
        place = f" in {'.'.join(keys)}" if keys else ""
        hint = closest_match_hint(unknown.group(1), _field_names(kind, keys))
        return f"unknown key {unknown.group(1)!r}{place}{hint}"
    missing = re.match(r"Object missing required field `(.*)`", what)
    if missing:
        return f"{'.'.join([*keys, missing.group(1)])} is required and was not given"
    given: Any = value
    for key in keys:
        if isinstance(given, Mapping):
            given = given.get(key)
        elif isinstance(given, Sequence) and not isinstance(given, str) and key.isdigit():
            given = given[int(key)]
    if "matching regex" in what and (meaning := _meaning(kind, keys)):
        return f"{'.'.join(keys)} = {_shortened(given)}: expected {meaning}"
    what = what.replace("`", "").replace(" | null", "")  # text and TOML have no null
    expected = what[0].lower() + re.sub(r"\bobject\b", "table", what[1:])
    allowed = _allowed_values(kind, keys)
    problem = _toml_problem(given)
    return f"{'.'.join(keys) or 'value'} = {_shortened(given)}: {expected}{allowed}{problem}"


def _shortened(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number too long to show"
    return text if len(text) <= 200 else text[:199] + "…"


def _field_type(kind: Any, keys: Sequence[str]) -> Any:
    """msgspec's description of the type at a path, ``None`` if it cannot be found."""
    described: Any = inspect.type_info(kind)
    for key in keys:
        if not isinstance(described, inspect.StructType):
            return None
        named = {f.encode_name: f.type for f in described.fields}
        described = named.get(key)
        if isinstance(described, inspect.Metadata):
            described = described.type
    return described


def _meaning(kind: Any, keys: Sequence[str]) -> str | None:
    """The expected form of a text in words, if its field describes it."""
    described = _field_type(kind, keys[:-1])
    if not keys or not isinstance(described, inspect.StructType):
        return None
    field = {f.encode_name: f.type for f in described.fields}.get(keys[-1])
    return form_of(field) if field is not None else None


def form_of(described: inspect.Type) -> str | None:
    """What a field expects: from its ``extra``, else its description."""
    kinds = described.types if isinstance(described, inspect.UnionType) else (described,)
    for kind in kinds:
        if isinstance(kind, inspect.Metadata):
            description = (kind.extra_json_schema or {}).get("description")
            return (kind.extra or {}).get("expected", description)
    return None


def _field_names(kind: Any, keys: Sequence[str]) -> list[str]:
    described = _field_type(kind, keys)
    if isinstance(described, inspect.StructType):
        return [f.encode_name for f in described.fields]
    return []


def _allowed_values(kind: Any, keys: Sequence[str]) -> str:
    described = _field_type(kind, keys)
    kinds = described.types if isinstance(described, inspect.UnionType) else (described,)
    values = [v for k in kinds if isinstance(k, inspect.LiteralType) for v in k.values]
    return f" (one of: {', '.join(map(str, values))})" if values else ""
