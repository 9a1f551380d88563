"""Fields of a struct as text, for ``clsbench list`` and the command line's options."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import inspect

from clsbench.components.parts import axis_of
from clsbench.schema.convert import form_of, struct_fields


class Field(NamedTuple):
    """One option: its type, default and description. ``kind`` is msgspec's type, ``form`` the
    expected form of a text."""

    name: str
    type: str
    required: bool
    default: Any
    description: str
    kind: inspect.Type
    form: str = ""

    @property
    def default_text(self) -> str:
        """The default as a user would write it."""
        return value_text(self.default)


def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields of a struct class, in order."""
    return tuple(_field(field, struct) for field in struct_fields(struct))


def value_text(value: Any) -> str:
    """A plain value as it is written in an option."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return str(value)


def _field(field: inspect.Field, struct: type[msgspec.Struct]) -> Field:
    kind, description = _unwrap(field.type)
    kind = _in_written_order(kind, field.name, struct)
    default = field.default
    if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return Field(
        name=field.encode_name,
        type=type_text(kind),
        required=field.required,
        default=None if default is msgspec.NODEFAULT else default,
        description=description,
        kind=kind,
        form=form_of(field.type) or description,
    )


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type without its annotation and without ``None``, and the annotation's description."""
    if isinstance(kind, inspect.UnionType):
        members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        if len(members) == 1:
            return _unwrap(members[0])
    if isinstance(kind, inspect.Metadata):
        inner, nested = _unwrap(kind.type)
        return inner, (kind.extra_json_schema or {}).get("description", nested)
    return kind, ""


def _in_written_order(kind: inspect.Type, name: str, struct: type[msgspec.Struct]) -> inspect.Type:
    """The choices of a literal in source order (msgspec sorts them)."""
    if isinstance(kind, inspect.UnionType):
        members = tuple(_in_written_order(member, name, struct) for member in kind.types)
        return inspect.UnionType(members)
    if isinstance(kind, inspect.LiteralType):
        annotations = {field.name: field.type for field in msgspec.structs.fields(struct)}
        written = _literals(annotations[name])
        return inspect.LiteralType(tuple(value for value in written if value in kind.values))
    return kind


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def type_text(kind: inspect.Type) -> str:
    """A type as shown to users: ``int ≥ 1``, ``fp32 | bf16``, ``path``."""
    match kind:
        case inspect.Metadata(type=inner):
            return type_text(inner)
        case inspect.UnionType(types=members):
            return " | ".join(type_text(member) for member in members)
        case inspect.LiteralType(values=values):
            return " | ".join(map(str, values))
        case inspect.IntType() | inspect.FloatType():
            name = "int" if isinstance(kind, inspect.IntType) else "float"
            bounds = (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt))
            limits = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
            return f"{name} {', '.join(limits)}".rstrip()
        case inspect.BoolType():
            return "bool"
        case inspect.StrType():
            return "text"
        case inspect.NoneType():
            return "none"
        case inspect.CustomType(cls=cls):
            return cls.__name__.lower()
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"list of {type_text(item)}"
        case inspect.TupleType(item_types=items):
            return f"list of {', '.join(type_text(item) for item in items)}"
        case inspect.StructType(cls=cls) if (axis := axis_of(cls)) is not None:
            return axis.singular.replace("_", " ")
        case inspect.StructType() | inspect.DictType():
            return "table"
    return "value"
