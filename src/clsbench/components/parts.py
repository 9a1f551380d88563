"""Components in the options of other components: a data set that wraps another.

Such an option is annotated with the base class of an axis (``of: clsbench.Dataset``). A user writes
the component as anywhere else: ``subset:of=sms-spam``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from clsbench.components.axes import AXES, Axis
from clsbench.components.component import Component
from clsbench.schema.convert import convert, struct_fields

C = TypeVar("C", bound=Component)


@functools.cache
def part_kinds(kind: type[Component]) -> dict[str, type[Component]]:
    """The options of a class that hold a component, with its class."""
    return {field.name: part for field in struct_fields(kind) if (part := _part_kind(field.type))}


def part_problem(kind: type[Component]) -> str | None:
    """Why options of a class cannot hold the components that they name; ``None`` if they can."""
    for field in struct_fields(kind):
        part = _part_kind(field.type)
        if part is None and any(map(_is_component, _within(field.type))):
            return f"the option {field.name!r} must hold one component, alone or optional"
        if part is not None and axis_of(part) is None:
            return f"the option {field.name!r}: {part.__name__} belongs to no axis"
    return None


def axis_of(kind: type) -> Axis | None:
    """The axis that a class belongs to, if any."""
    return next((axis for axis in AXES if issubclass(kind, axis.kind)), None)


def convert_options(
    options: Mapping[str, Any], kind: type[C], where: str, parts: Mapping[str, Component]
) -> C:
    """The component of class ``kind`` with plain ``options`` and, by option, the given ``parts``.

    Raises:
        UsageError: an option is not valid.
    """
    if not parts:
        return convert(options, kind, where)
    made = convert({**options, **parts}, _open_kind(kind, tuple(parts)), where)
    return kind(**{name: getattr(made, name) for name in kind.__struct_fields__})


@functools.cache
def _open_kind(kind: type[C], options: tuple[str, ...]) -> type[C]:
    """The class with ``options`` of any type, since msgspec converts no instance of a subclass."""
    fields = [(option, Any) for option in options]
    opened: Any = msgspec.defstruct(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    return cast(type[C], opened)


def _part_kind(described: inspect.Type) -> type[Component] | None:
    if isinstance(described, inspect.Metadata):
        return _part_kind(described.type)
    if isinstance(described, inspect.UnionType):
        members = [each for each in described.types if not isinstance(each, inspect.NoneType)]
        return _part_kind(members[0]) if len(members) == 1 else None
    if isinstance(described, inspect.StructType) and issubclass(described.cls, Component):
        return described.cls
    return None


def _is_component(described: inspect.Type) -> bool:
    return isinstance(described, inspect.StructType) and issubclass(described.cls, Component)


def _within(described: inspect.Type) -> Iterator[inspect.Type]:
    """A type and those that it is made of."""
    yield described
    for name in ("type", "item_type", "key_type", "value_type"):
        if isinstance(inner := getattr(described, name, None), inspect.Type):
            yield from _within(inner)
    for name in ("types", "item_types"):
        for inner in getattr(described, name, ()):
            yield from _within(inner)
