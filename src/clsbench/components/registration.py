"""Check what a plugin registers: names, component classes, methods, experiments, suites."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import Any, get_args

import msgspec

from clsbench.components.axes import AXES, Axis, Baseline, BaselineInputs
from clsbench.components.component import Component
from clsbench.components.metric import Metric, description_problem
from clsbench.components.parts import part_problem
from clsbench.errors import UsageError
from clsbench.schema.convert import convert, struct_fields
from clsbench.schema.experiment import ExperimentSpec, Method, component_table
from clsbench.schema.suite import SuiteSpec, check_suite


def registration_problem(axis: Axis, name: object, component: object) -> str | None:
    """Why ``component`` cannot be registered under ``name``; ``None`` if it can."""
    if not isinstance(name, str) or not name or set(name) & set(':,="\n '):
        return "a name is text without spaces, colons, commas, quotes and equals signs"
    if axis.kind in (Method, ExperimentSpec, SuiteSpec):
        if not isinstance(component, axis.kind):
            return f"expected a clsbench.{axis.kind.__name__}, got {_type_name(component)}"
        try:
            if isinstance(component, SuiteSpec):
                check_suite(component, "it")
            elif isinstance(component, Method):
                _check_method(component)
        except UsageError as error:
            return str(error)
        return None
    if not isinstance(component, type) or not issubclass(component, axis.kind):
        return f"expected a class derived from clsbench.{axis.kind.__name__}, got " + (
            _type_name(component)
        )
    if problem := class_problem(component):
        return problem
    if not (component.__doc__ or "").strip():
        return "its class has no docstring; its first line is the help text"
    return None


def signature_problem(component: type) -> str | None:
    """A message if a method lacks the parameters that its base class declares, else ``None``."""
    axis = next((a.kind for a in AXES if issubclass(component, a.kind)), Component)
    for name, promised in _methods(axis):
        own = inspect.getattr_static(component, name)
        if own is promised:
            continue
        first = 1 if isinstance(own, staticmethod | classmethod) else 0
        wanted = list(inspect.signature(promised).parameters)
        try:
            inspect.signature(getattr(component, name)).bind(*wanted[first:])
        except (TypeError, ValueError):
            return (
                f"its method {name}() does not accept the required arguments; expected "
                f"def {name}({', '.join(wanted)})"
            )
    return None


@functools.cache
def _methods(axis: type) -> list[tuple[str, FunctionType]]:
    members = inspect.getmembers(axis, inspect.isfunction)
    return [(name, method) for name, method in members if not name.startswith("_")]


@functools.cache
def class_problem(component: Any) -> str | None:
    """Why a class cannot be a component, judged by its options; ``None`` if it can."""
    try:
        msgspec.json.Decoder(component)  # refuses ambiguous unions
        fields = struct_fields(component)
    except Exception as error:  # such as a postponed annotation that cannot be resolved
        return f"its options cannot be read: {type(error).__name__}: {error}"
    for field in fields:
        if field.name == "name":
            return "an option cannot be named 'name', which is reserved for the component's name"
        if not _is_plain(field.type):
            return (
                f"the option {field.name!r} has a type that TOML cannot hold; expected text, a "
                "number, a boolean, a list or a table"
            )
    if problem := part_problem(component):
        return problem
    libraries = component.libraries
    if not isinstance(libraries, tuple) or not all(isinstance(each, str) for each in libraries):
        return (
            "libraries must be a tuple of names: libraries: ClassVar[tuple[str, ...]] = "
            "('transformers',)"
        )
    if issubclass(component, Baseline) and component.inputs not in get_args(BaselineInputs):
        return f"inputs is {component.inputs!r}, expected one of {get_args(BaselineInputs)}"
    if issubclass(component, Metric) and (problem := description_problem(component)):
        return problem
    return signature_problem(component)


def _check_method(method: Method) -> None:
    """Check that a method names its parts as text or table.

    Raises:
        UsageError: it does not.
    """
    method = convert(msgspec.to_builtins(method), Method, "the method")
    for key, choice in method.changes().items():
        if not isinstance(component_table(choice).get("name"), str):
            raise UsageError(
                f"{key} = {choice!r}: expected NAME, NAME:OPTION=VALUE or such a table"
            )


def _is_plain(described: msgspec.inspect.Type) -> bool:
    """Whether TOML can hold values of the type, judged by its outermost type."""
    if isinstance(described, msgspec.inspect.Metadata):
        described = described.type
    if isinstance(described, msgspec.inspect.UnionType):
        return all(map(_is_plain, described.types))
    return not isinstance(described, msgspec.inspect.CustomType | msgspec.inspect.RawType)


def _type_name(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
