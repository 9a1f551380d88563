"""``clsbench list``: registered components and their options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from clsbench.cli.completion import complete_axis
from clsbench.cli.json_command import JsonCommand
from clsbench.cli.output import Line, print_lines, write_json
from clsbench.cli.session import Session

if TYPE_CHECKING:
    from clsbench.components.axes import Axis
    from clsbench.components.catalog import Catalog, Entry


@click.command("list", cls=JsonCommand)
@click.argument(
    "axis",
    required=False,
    shell_complete=complete_axis,
    help="List only this axis, singular or plural: datasets, backbone, freezing …",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def list_components(session: Session, axis: str | None, as_json: bool) -> None:
    """List the available components and their options.

    Write a component as NAME or NAME:OPTION=VALUE,OPTION=VALUE, on the command line and in TOML.

    \b
    clsbench list                       everything
    clsbench list freezing-strategies   one axis
    clsbench --plugin mine.py list      include a plugin that is not installed
    clsbench list --json | jq '.backbones[].name'
    """
    from clsbench.components.axes import AXES
    from clsbench.components.catalog import axis_named

    axes = [axis_named(axis)] if axis else list(AXES)
    catalog = session.catalog()
    if as_json:
        write_json({a.name: [_plain(e) for e in _entries(a, catalog)] for a in axes})
        return
    print_lines(_lines(axes, catalog))


def _entries(axis: Axis, catalog: Catalog) -> list[Entry]:
    return list(catalog.entries[axis.name].values())


def _origin(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}" if entry.version else entry.distribution


def _plain(entry: Entry) -> dict[str, Any]:
    """An entry as plain values."""
    import msgspec

    from clsbench.cli.fields import fields_of
    from clsbench.schema.experiment import ExperimentSpec, Method, to_tree
    from clsbench.schema.suite import SuiteSpec

    described: dict[str, Any] = {
        "name": entry.name,
        "summary": entry.summary,
        "distribution": entry.distribution,
        "version": entry.version,
        "source_sha256": entry.source_sha256,
    }
    if isinstance(entry.component, ExperimentSpec):
        return {**described, "spec": to_tree(entry.component)}
    if isinstance(entry.component, Method):
        return {**described, **msgspec.to_builtins(entry.component)}
    if isinstance(entry.component, SuiteSpec):
        return {**described, "spec": msgspec.to_builtins(entry.component)}
    return {
        **described,
        "options": [
            {
                "name": field.name,
                "type": field.type,
                "required": field.required,
                "default": field.default,
                "description": field.description,
            }
            for field in fields_of(entry.component)
        ],
    }


def _lines(axes: Iterable[Axis], catalog: Catalog) -> Iterator[Line]:
    from rich.text import Text

    for number, axis in enumerate(axes):
        if number:
            yield Line(Text(), Text())
        heading = Text(axis.name.replace("_", "-"), "bold underline")
        yield Line(heading, Text(f"  {axis.option}" if axis.option else "", "dim"))
        entries = _entries(axis, catalog)
        width = max((len(entry.name) for entry in entries), default=0)
        for entry in entries:
            yield Line(
                Text(f"  {entry.name.ljust(width)}  ", "bold cyan"),
                Text.assemble(entry.summary, (f"  [{_origin(entry)}]", "dim")),
            )
            yield from _option_lines(entry)
        if not entries:
            yield Line(Text("  "), Text("none registered", "dim"))


def _option_lines(entry: Entry) -> Iterator[Line]:
    from rich.text import Text

    from clsbench.cli.fields import fields_of
    from clsbench.schema.experiment import ExperimentSpec, Method, format_component
    from clsbench.schema.suite import SuiteSpec

    if isinstance(entry.component, ExperimentSpec):
        spec = entry.component
        parts = (spec.dataset, spec.backbone, spec.pooling, spec.head, spec.freezing, spec.adapter)
        named = [format_component(part) for part in parts if part is not None]
        yield Line(Text("      "), Text(" · ".join(named), "dim"))
        return
    if isinstance(entry.component, Method):
        method = entry.component
        words = f"freezing {format_component(method.freezing)}"
        if method.adapter is not None:
            words += f" · adapter {format_component(method.adapter)}"
        yield Line(Text("      "), Text(words, "dim"))
        return
    if isinstance(entry.component, SuiteSpec):
        rows = entry.component.rows
        yield Line(Text("      "), Text(f"{len(rows)} rows on {entry.component.base}", "dim"))
        return
    fields = fields_of(entry.component)
    width = max((len(field.name) for field in fields), default=0)
    for field in fields:
        yield Line(
            Text(f"      {field.name.ljust(width)}  ", "green"),
            Text.assemble(
                f"{field.type} ",
                ("required", "yellow") if field.required else f"= {field.default_text}",
                (f" – {field.description}" if field.description else "", "dim"),
            ),
        )
