"""Components given as Python objects whose classes no plugin registers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from clsbench.components.axes import AXES, Axis
from clsbench.components.catalog import Catalog, Entry
from clsbench.components.component import Component, parts_of
from clsbench.components.parts import axis_of
from clsbench.components.registration import class_problem
from clsbench.components.sources import source_sha256
from clsbench.errors import PluginError, UsageError


def with_instances(changes: Mapping[str, Any], catalog: Catalog) -> Catalog:
    """The catalog with an entry for each component in ``changes`` whose class is not registered.

    Such an entry is named after its class: ``MyDataset`` is ``my-dataset``.

    Raises:
        UsageError: the name is already registered.
        PluginError: the class cannot be a component, or its source cannot be found.
    """
    entries = {axis: dict(known) for axis, known in catalog.entries.items()}
    for key, axis, component in _instances(changes):
        known, kind = entries[axis.name], type(component)
        registered = [entry.component for entry in known.values()]
        if kind in registered:
            continue
        entry = _entry_of_class(axis, kind)
        if entry.name in known:
            raise UsageError(
                f"{key}: no plugin registers the class {kind.__name__}, and its name "
                f"{entry.name!r} is taken by {known[entry.name].distribution}; rename the "
                "class or register it in a plugin"
            )
        known[entry.name] = entry
    return catalog._replace(
        entries=MappingProxyType({a: MappingProxyType(known) for a, known in entries.items()})
    )


def _instances(changes: Mapping[str, Any]) -> Iterator[tuple[str, Axis, Component]]:
    """The instances in ``changes`` with their keys and axes, those in options of others too."""
    for key, value in changes.items():
        axis = next((a for a in AXES if key in (a.change_key, a.name)), None)
        for component in value if isinstance(value, list | tuple) else (value,):
            if axis is not None and isinstance(component, Component):
                yield from _with_parts(key, axis, component)


def _with_parts(
    key: str, axis: Axis, component: Component
) -> Iterator[tuple[str, Axis, Component]]:
    if isinstance(component, axis.kind):
        yield key, axis, component
    for option, part in parts_of(component).items():
        if (part_axis := axis_of(type(part))) is not None:
            yield from _with_parts(f"{key}.{option}", part_axis, part)


def _entry_of_class(axis: Axis, kind: type[Component]) -> Entry:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", kind.__name__)
    name = "-".join(words).lower() or kind.__name__
    module = sys.modules.get(kind.__module__, ModuleType(kind.__module__))
    file = getattr(module, "__file__", None)
    origin = Path(file).name if module.__name__ == "__main__" and file else module.__name__
    try:
        if problem := class_problem(kind):
            raise PluginError(problem)
        return Entry(axis.name, name, kind, origin, None, source_sha256(module, kind))
    except PluginError as error:
        raise PluginError(f"{axis.singular} {kind.__name__}: {error}") from error
