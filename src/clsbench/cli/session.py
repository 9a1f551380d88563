"""Options of every command, before or after its name: plugins and verbosity."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from clsbench.cli.output import only_results_on_stdout
from clsbench.schema.environment_variables import ENVIRONMENT

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.schema.options import RunOptions

RUN_OPTIONS = "clsbench.run_options"
"""The key of a command's run options in the context."""


class Session(NamedTuple):
    """The plugins named on the command line, and the verbosity."""

    plugins: tuple[str, ...] = ()
    verbose: bool = False
    quiet: bool = False

    def catalog(self) -> Catalog:
        """All components. Warns of installed plugins that cannot be used.

        Raises:
            PluginError: a plugin named on the command line cannot be used.
        """
        import logging

        from clsbench.components.catalog import load_catalog

        with only_results_on_stdout():
            catalog = load_catalog(self.plugins)
        for failure in catalog.failures:
            logging.getLogger(__name__).warning("skipped an installed plugin: %s", failure.reason)
        return catalog


def chosen_run_options(ctx: click.Context, **changed: Any) -> RunOptions:
    """The run options of the command line, with defaults filled in.

    Raises:
        UsageError: a value in ``changed`` is invalid.
    """
    from clsbench.schema.convert import convert
    from clsbench.schema.options import RunOptions

    session = ctx.find_object(Session) or Session()
    return convert(
        {**ctx.meta.get(RUN_OPTIONS, {}), "plugins": session.plugins, **changed},
        RunOptions,
        "options",
    )


def global_options() -> list[click.Option]:
    """``--plugin``, ``--verbose`` and ``--quiet``, for ``clsbench`` and all commands."""
    return [
        click.Option(
            ["--plugin", "plugins"],
            multiple=True,
            metavar="FILE_OR_MODULE",
            callback=_into_session,
            expose_value=False,
            help="Load a plugin that is not installed: a Python file or a module name; repeatable. "
            f"{ENVIRONMENT['plugins']} lists more, separated by {os.pathsep!r}.",
        ),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            callback=_into_session,
            expose_value=False,
            help="Show details, including tracebacks.",
        ),
        click.Option(
            ["--quiet", "-q"],
            is_flag=True,
            callback=_into_session,
            expose_value=False,
            help="Show only results and errors.",
        ),
    ]


def add_global_options(command: click.Command) -> None:
    """Add the global options to a command and its subcommands."""
    if not any(parameter.name == "quiet" for parameter in command.params):
        command.params += global_options()
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_global_options(each)


def _into_session(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Click callback: merge an option of this command with those given before it."""
    session = ctx.find_object(Session)
    if session is None:
        from_environment = os.environ.get(ENVIRONMENT["plugins"], "").split(os.pathsep)
        session = Session(tuple(dict.fromkeys(filter(None, from_environment))))
    assert parameter.name is not None
    if parameter.name == "plugins":
        value = tuple(dict.fromkeys((*session.plugins, *filter(None, value))))
    else:
        value = value or getattr(session, parameter.name)
    session = session._replace(**{parameter.name: value})
    if session.verbose and session.quiet:
        raise click.UsageError("--verbose and --quiet cannot be combined", ctx)
    if not ctx.resilient_parsing and session != ctx.obj:
        from clsbench.cli.diagnostics import configure_logging  # help needs no logging

        configure_logging(session.verbose, session.quiet)
    ctx.obj = session
    return value
