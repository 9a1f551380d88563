"""MkDocs hook: build the reference pages from the catalog, the commands and the structs.

``mkdocs.yml`` names this file under ``hooks``; nothing of it is written to ``docs/``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

import clsbench
from clsbench import data, executors, testing
from clsbench.analysis.figures import WITHOUT_LEAKED, describe_metric
from clsbench.cli.fields import Field, fields_of, value_text
from clsbench.cli.main import COMMANDS, app, load_command
from clsbench.components import outer_axes
from clsbench.components.axes import AXES, Axis
from clsbench.components.catalog import Entry, load_catalog
from clsbench.components.hookspecs import LifecycleHooks, RegistrationHooks
from clsbench.components.resolve import make_metric
from clsbench.schema import job
from clsbench.schema.experiment import (
    ExperimentSpec,
    Method,
    format_component,
    to_tree,
)
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord
from clsbench.schema.suite import SuiteSpec
from clsbench.suites import worker

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_ROLE = re.compile(r":(?:class|meth|func|attr|data|mod):(`+|<code>)~?([^`<]+)(`+|</code>)")
_STUB = Path(inspect.getfile(clsbench)).with_suffix(".pyi")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, lines in pages().items():
        files.append(
            File.generated(config, f"reference/{name}.md", content="\n".join(lines) + "\n")
        )
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Show Sphinx roles in docstrings as plain code."""
    return _ROLE.sub(lambda found: f"{found[1]}{found[2]}{found[3]}", html)


_DATA = "The public names of `clsbench.data`, for components that read a user's files."


def pages() -> dict[str, list[str]]:
    """The generated pages by name, as lines of Markdown."""
    return {
        "components": list(_components()),
        "options": list(_options()),
        "hooks": list(_hooks()),
        "commands": list(_commands()),
        "record": list(_record()),
        "metrics": list(_metrics()),
        "api": list(
            _documented("Python API", "The public names of `clsbench`.", _public_names(_STUB))
        ),
        "executors": list(_executors()),
        "data": list(_documented("Read files", _DATA, _homes(data))),
        "testing": list(_testing()),
    }


# --- components ----------------------------------------------------------------------------------


def _components() -> Iterator[str]:
    yield "# Components"
    yield ""
    yield (
        "Every component that `clsbench` registers itself, with its options. `clsbench list` shows "
        "the same, and the components of your plugins as well. A component is written `NAME` or "
        "`NAME:OPTION=VALUE,OPTION=VALUE`."
    )
    catalog = load_catalog(skip_failed=True)
    for axis in AXES:
        built_in = [e for e in catalog.entries[axis.name].values() if e.distribution == "clsbench"]
        yield from _heading(2, axis.name.replace("_", " ").capitalize())
        yield _axis_line(axis)
        for entry in built_in:
            yield from _heading(3, f"`{entry.name}`")
            yield from _entry(entry)


def _axis_line(axis: Axis) -> str:
    option = f" Choose one with `{axis.option}`." if axis.option else ""
    return f"Registered by the hook `{axis.hook}`.{option}"


def _entry(entry: Entry) -> Iterator[str]:
    component = entry.component
    if isinstance(component, Method):
        yield component.description
        yield ""
        yield f"Freezing strategy `{format_component(component.freezing)}`" + (
            f", adapter `{format_component(component.adapter)}`." if component.adapter else "."
        )
    elif isinstance(component, ExperimentSpec):
        yield component.description
        yield ""
        tree = to_tree(component)
        yield from _table(
            ("key", "value"),
            (
                (f"`{key}`", f"`{format_component(tree[key])}`")
                for key in ("dataset", "backbone", "pooling", "head", "freezing", "adapter")
                if tree.get(key)
            ),
        )
    elif isinstance(component, SuiteSpec):
        yield f"{component.description}. Base: `{component.base}`."
        yield ""
        yield from _table(
            ("row", "title", "changes"),
            (
                (
                    row.label,
                    row.title,
                    ", ".join(f"`{k}={value_text(v)}`" for k, v in row.changes.items()),
                )
                for row in component.rows
            ),
        )
    else:
        yield _markdown(component.__doc__)
        fields = fields_of(component)
        if fields:
            yield ""
            yield from _field_table(fields)


# --- options, record -----------------------------------------------------------------------------


def _options() -> Iterator[str]:
    yield "# Options"
    yield from _heading(2, "What to run: the experiment")
    yield (
        "The keys of an experiment in TOML. On the command line: `--set KEY=VALUE`, with dots for "
        "nested keys, such as `--set train.lr=1e-4`."
    )
    yield ""
    meanings = {axis.spec_key: _first_line(axis.kind.__doc__) for axis in AXES}
    yield from _field_table(
        field._replace(description=field.description or meanings.get(field.name, ""))
        for field in _flat(ExperimentSpec)
    )
    yield from _heading(2, "Where and how: the run")
    yield _markdown(RunOptions.__doc__)
    yield ""
    yield "On the command line with hyphens (`--cache-memory`), in Python as they stand."
    yield ""
    yield from _field_table(fields_of(RunOptions))


def _record() -> Iterator[str]:
    yield "# Record"
    yield ""
    yield (
        "The keys of `record.json`, which `clsbench run --json` also prints. "
        "`clsbench.load_results()` and `clsbench results` read it as a table."
    )
    done: set[type] = set()
    waiting: list[type[msgspec.Struct]] = [RunRecord]
    while waiting:
        struct = waiting.pop(0)
        if struct in done:
            continue
        done.add(struct)
        yield from _heading(2, "The record" if struct is RunRecord else f"`{struct.__name__}`")
        yield _markdown(struct.__doc__)
        yield ""
        described = msgspec.inspect.type_info(struct)
        assert isinstance(described, msgspec.inspect.StructType)
        inner = {field.encode_name: list(_structs(field.type)) for field in described.fields}
        yield from _table(
            ("key", "type"),
            (
                (
                    f"`{field.name}`",
                    f"{_cell(field.type)}"
                    + "".join(f" [{s.__name__}](#{s.__name__.lower()})" for s in inner[field.name]),
                )
                for field in fields_of(struct)
            ),
        )
        waiting += [each for structs in inner.values() for each in structs]


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield (
        "Computed from the predictions for every text of each split. CSV and JSON put the split "
        "before the name: `test_accuracy`. A [plugin](../plugins/metrics.md) adds others; "
        "[How to read intervals and verdicts](../intervals.md) explains intervals and tests."
    )
    yield ""
    catalog = load_catalog(skip_failed=True)
    found = [describe_metric(*make_metric(name, catalog)) for name in catalog.entries["metrics"]]
    yield from _table(
        ("name", "in CSV and JSON", "meaning", "unit", "better"),
        (
            (f"`{m.name}`", f"`{m.column}`", _cell(m.meaning), m.unit, m.better)
            for m in (*found, WITHOUT_LEAKED)
        ),
    )


def _flat(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[Field]:
    """The fields, those of nested structs with a dotted name instead of the struct itself."""
    for field in fields_of(struct):
        if isinstance(field.kind, msgspec.inspect.StructType) and field.name != "published":
            yield from _flat(field.kind.cls, f"{prefix}{field.name}.")
        elif field.name != "published":
            yield field._replace(name=prefix + field.name)


def _structs(kind: msgspec.inspect.Type) -> Iterator[type[msgspec.Struct]]:
    """The structs that a value of this type holds."""
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls
    for part in ("type", "item_type", "key_type", "value_type"):
        if isinstance(inner := getattr(kind, part, None), msgspec.inspect.Type):
            yield from _structs(inner)
    for part in ("types", "item_types"):
        for inner in getattr(kind, part, ()):
            yield from _structs(inner)


# --- hooks ---------------------------------------------------------------------------------------


def _hooks() -> Iterator[str]:
    yield "# Hooks"
    yield ""
    yield (
        "A plugin implements a hook with a function of the same name under `@clsbench.hookimpl`. "
        "It may leave out arguments that it does not use."
    )
    for title, hooks in (("Registration", RegistrationHooks), ("Events of a run", LifecycleHooks)):
        yield from _heading(2, title)
        yield _markdown(hooks.__doc__)
        for name, hook in vars(hooks).items():
            if name.startswith("clsbench_"):
                parameters = [p for p in inspect.signature(hook).parameters if p != "self"]
                yield from _heading(3, f"`{name}({', '.join(parameters)})`")
                returned = inspect.signature(hook).return_annotation
                yield _markdown(hook.__doc__)
                if returned != "None":
                    yield ""
                    yield f"Returns `{returned}`."


# --- commands ------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield ""
    yield "`clsbench COMMAND --help` shows the same in the terminal."
    context = click.Context(app, info_name="clsbench")
    for name in COMMANDS:
        yield from _command(load_command(name), f"clsbench {name}", context)


def _command(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    yield from _heading(2, f"`{path}`")
    usage = command.collect_usage_pieces(context)
    yield f"```\n{' '.join([path, *usage])}\n```"
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        yield ""
        if paragraph.startswith("\b"):
            yield f"```\n{paragraph.removeprefix(chr(8)).strip()}\n```"
        else:
            yield _markdown(paragraph)
    yield ""
    rows = []
    for parameter in command.params:
        record = parameter.to_info_dict()
        if isinstance(parameter, click.Option):
            shown = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
            help_text = parameter.help or ""
        else:
            shown = f"`{parameter.make_metavar(context)}`"
            help_text = record.get("help") or getattr(parameter, "help", "") or ""
        rows.append((shown, _cell(help_text)))
    yield from _table(("option", "meaning"), rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, f"{path} {name}", context)


# --- Python --------------------------------------------------------------------------------------


def _testing() -> Iterator[str]:
    text = (
        f"{_markdown(inspect.cleandoc(testing.__doc__ or '').partition(chr(10) * 2)[0])}\n\n"
        "Each check takes a component, uses it as a run does, and raises `AssertionError` with the "
        "component and the promise that it breaks."
    )
    yield from _documented("Conformance kit", text, _homes(testing))


def _executors() -> Iterator[str]:
    text = "The public names of `clsbench.executors`, for authors of an executor."
    homes = {n: m.__name__ for m in (worker, outer_axes, job) for n in dir(m)}
    yield from _documented("For executors", text, ((n, homes[n]) for n in executors.__all__))


def _homes(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name in module.__all__:
        home = getattr(module, name).__module__  # an annotated type has that of a built-in type
        yield name, home if home != "builtins" else module.__name__


def _documented(title: str, text: str, homes: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (f"# {title}", "", text)
    for name, module in homes:
        yield from ("", f"::: {module}.{name}")


def _public_names(stub: Path) -> Iterator[tuple[str, str]]:
    """Each public name with the module that defines it, from the stub of the package."""
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield name.name, f"clsbench.{node.module}"


# --- Markdown ------------------------------------------------------------------------------------


def _heading(level: int, text: str) -> Iterator[str]:
    yield from ("", f"{'#' * level} {text}", "")


def _field_table(fields: Iterable[Field]) -> Iterator[str]:
    yield from _table(
        ("option", "type", "default", "meaning"),
        (
            (
                f"`{field.name}`",
                _cell(field.type),
                "required" if field.required else f"`{field.default_text}`".replace("``", "empty"),
                _cell(field.description),
            )
            for field in fields
        ),
    )


def _table(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return _markdown(text).replace("|", "\\|").replace("\n", " ")


def _first_line(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").partition("\n")[0]


def _markdown(docstring: str | None) -> str:
    """A docstring as Markdown: single backticks, Sphinx roles as code."""
    text = _ROLE.sub(r"`\2`", inspect.cleandoc(docstring or "")).replace("``", "`")
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else p.replace("<", "&lt;") for p in parts)
