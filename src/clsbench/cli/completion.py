"""Shell completion of experiments, components and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import rich_click as click
from click.shell_completion import CompletionItem

from clsbench.cli.session import Session, chosen_run_options
from clsbench.components.axes import Axis

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_spec(axis_name: Literal["experiments", "suites"]) -> Completer:
    """Registered experiments or suites, then files."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        entries = _catalog(ctx).entries[axis_name]
        names = _items(((name, entry.summary) for name, entry in entries.items()), incomplete)
        return names or [CompletionItem(incomplete, type="file")]

    return complete


def complete_axis(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The axes, named as ``clsbench list`` shows them."""
    from clsbench.components.axes import AXES

    return _items(((axis.name.replace("_", "-"), "") for axis in AXES), incomplete)


def complete_component(axis: Axis) -> Completer:
    """Components of an axis; after the colon, their options."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        entries = _catalog(ctx).entries[axis.name]
        name, colon, _ = incomplete.partition(":")
        if colon and name in entries and isinstance(entries[name].component, type):
            return _option_items(entries[name].component, incomplete)
        return _items(((name, entry.summary) for name, entry in entries.items()), incomplete)

    return complete


def complete_run(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Stored runs, newest first."""
    from clsbench.results.record_file import RECORD_FILE
    from clsbench.results.store import LATEST

    store = chosen_run_options(ctx).out
    names = [path.parent.name for path in store.glob(f"*/{RECORD_FILE}")]
    choices = [(LATEST, "the most recent run"), *((name, "") for name in sorted(names)[::-1])]
    return _items(choices, incomplete) or [CompletionItem(incomplete, type="dir")]


def complete_report(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Suites with stored results, then stored runs."""
    from clsbench.results.suite_results import suites_of

    names = suites_of(chosen_run_options(ctx).out)
    suites = _items(((name, "a suite") for name in names), incomplete)
    return suites + complete_run(ctx, parameter, incomplete)


def _option_items(component: object, incomplete: str) -> list[CompletionItem]:
    from clsbench.cli.fields import fields_of

    assert isinstance(component, type)
    start = incomplete[: max(incomplete.rfind(":"), incomplete.rfind(",")) + 1]
    options = ((f"{start}{field.name}=", field.description) for field in fields_of(component))
    return _items(options, incomplete)


def _items(choices: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(name, help=summary or None)
        for name, summary in choices
        if name.startswith(incomplete)
    ]


def _catalog(ctx: click.Context) -> Catalog:
    """The catalog, with the plugins named so far. Completion never fails or warns."""
    from clsbench.components.catalog import load_catalog
    from clsbench.errors import ClsbenchError

    session = ctx.find_object(Session) or Session()
    try:
        return load_catalog(session.plugins)
    except ClsbenchError:
        return load_catalog()
