"""Make the components that a spec names, and write components out as a spec holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from clsbench.components.axes import AXES, Axis
from clsbench.components.catalog import Catalog, Entry
from clsbench.components.component import Component, parts_of
from clsbench.components.parts import axis_of, convert_options, part_kinds
from clsbench.errors import UsageError
from clsbench.schema.changes import short_component
from clsbench.schema.convert import parse_value
from clsbench.schema.experiment import component_table, without_none
from clsbench.schema.training import ComponentTable


class ChosenComponent(NamedTuple):
    """A component of an experiment.

    ``axis`` is its key in the spec (``train.optimizer``; ``baseline`` for baselines), ``table`` its
    name and every option, and ``label`` the same as text: ``last-blocks:n=2``. ``parts`` are the
    components in its options.
    """

    axis: str
    component: Component
    entry: Entry
    table: ComponentTable
    label: str
    parts: Mapping[str, ChosenComponent]

    @property
    def quoted_name(self) -> str:
        """Axis and name for messages: ``backbone 'gpt2'``."""
        return f"{self.axis.rpartition('.')[2]} {self.entry.name!r}"

    def with_parts(self) -> Iterator[ChosenComponent]:
        """The component itself, the components in its options, those in theirs, and so on."""
        yield self
        for part in self.parts.values():
            yield from part.with_parts()


def choose(choice: str | ComponentTable, axis: Axis, catalog: Catalog) -> ChosenComponent:
    """Make the component of an axis that ``choice`` names, with its options.

    Raises:
        UsageError: it does not exist, or an option is invalid.
    """
    table = component_table(choice)
    name = table.get("name")
    if not isinstance(name, str):
        raise UsageError(f"{axis.singular}: the table {table!r} requires a name")
    entry = catalog.entry(axis.name, name)
    options = {key: value for key, value in table.items() if key != "name"}
    assert isinstance(entry.component, type)
    where = f"{axis.singular} {name!r}"
    parts = {
        option: _choose_part(options[option], kind, f"{where}: {option}", catalog)
        for option, kind in part_kinds(entry.component).items()
        if options.get(option) is not None
    }
    given = {option: part.component for option, part in parts.items()}
    component = convert_options(options, entry.component, where, given)
    for option, part in parts_of(component).items():
        if option not in parts:  # a default
            part_axis = _axis_of(part)
            parts[option] = choose(table_of(part, part_axis, catalog), part_axis, catalog)
    written = _written_out(name, component, {each: part.table for each, part in parts.items()})
    key = axis.spec_key or axis.singular
    label = short_component({**written, **{each: part.label for each, part in parts.items()}})
    return ChosenComponent(key, component, entry, written, label, parts)


def make_component(choice: str | ComponentTable, axis_name: str, catalog: Catalog) -> Component:
    """The component of an axis that ``choice`` names, with its options: ``local``, ``name:a=b``.

    Raises:
        UsageError: it does not exist, or an option is invalid.
    """
    axis = next(axis for axis in AXES if axis.name == axis_name)
    return choose(choice, axis, catalog).component


def table_of(component: Component, axis: Axis, catalog: Catalog) -> ComponentTable:
    """The component as a table, by the name under which its class is registered on the axis.

    Raises:
        UsageError: it is not registered.
    """
    parts = {
        option: table_of(part, _axis_of(part), catalog)
        for option, part in parts_of(component).items()
    }
    for entry in catalog.entries[axis.name].values():
        if entry.component is type(component):
            return _written_out(entry.name, component, parts)
    raise UsageError(
        f"{type(component).__name__} is not registered on the axis {axis.name}: name the plugin "
        f"that registers it by {axis.hook}"
    )


def _axis_of(component: Component) -> Axis:
    axis = axis_of(type(component))
    if axis is None:
        raise UsageError(f"{type(component).__name__} derives from no kind of component")
    return axis


def _choose_part(
    value: Any, kind: type[Component], where: str, catalog: Catalog
) -> ChosenComponent:
    choice = parse_value(value) if isinstance(value, str) else value
    axis = axis_of(kind)
    assert axis is not None  # checked when the class was registered
    if not isinstance(choice, str | Mapping):
        raise UsageError(f"{where} = {value!r}: expected a {axis.singular}, NAME:OPTION=VALUE,…")
    part = choose(choice if isinstance(choice, str) else dict(choice), axis, catalog)
    if not isinstance(part.component, kind):
        raise UsageError(f"{where} = {part.label}: expected a {kind.__name__}")
    return part


def _written_out(
    name: str, component: Component, parts: Mapping[str, ComponentTable]
) -> ComponentTable:
    try:
        options = msgspec.to_builtins(component)
        table: ComponentTable = without_none({"name": name, **options, **parts})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the options of {name!r} must be plain values (text, numbers, lists): {error}"
        ) from None
    return table
