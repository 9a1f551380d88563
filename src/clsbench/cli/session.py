"""The options that every command takes, before or after its name: plugins and verbosity."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from clsbench.cli.errors import fit_terminal, shortened
from clsbench.cli.output import only_results_on_stdout
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.schema.options import RunOptions

logger = logging.getLogger(__name__)

RUN_OPTIONS = "clsbench.run_options"
"""Where a command's run options are kept in the context."""


class Session(NamedTuple):
    """The plugins named on the command line, and whether progress and details are wanted."""

    plugins: tuple[str, ...] = ()
    verbose: bool = False
    quiet: bool = False

    def catalog(self) -> Catalog:
        """Every component; installed plugins that cannot be used are told as warnings.

        Raises:
            PluginError: a plugin named on the command line cannot be used.
        """
        from clsbench.components.catalog import load_catalog

        with only_results_on_stdout():
            catalog = load_catalog(self.plugins)
        for failure in catalog.failures:
            logger.warning("skipped an installed plugin: %s", failure.reason)
        return catalog


def chosen_run_options(ctx: click.Context, **changed: Any) -> RunOptions:
    """The circumstances that the command line asks for, defaults filled in.

    Raises:
        UsageError: a value in ``changed`` does not fit.
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
    """``--plugin``, ``--verbose`` and ``--quiet``, for ``clsbench`` itself and every command."""
    return [
        click.Option(
            ["--plugin", "plugins"],
            multiple=True,
            metavar="FILE_OR_MODULE",
            callback=_into_session,
            expose_value=False,
            help="A plugin that is not installed: a Python file or a module's name; repeatable. "
            f"{ENVIRONMENT['plugins']} holds more, separated by {os.pathsep!r}.",
        ),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            callback=_into_session,
            expose_value=False,
            help="Show more, tracebacks included.",
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
    """Click callback: add an option given at this command to those given before it."""
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
        raise click.UsageError("--verbose and --quiet exclude each other", ctx)
    if not ctx.resilient_parsing and session != ctx.obj:
        configure_logging(session.verbose, session.quiet)
    ctx.obj = session
    return value


class _StandardError(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at that moment: a live display may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = printable(self.format(record), keep="\n\t")
            if not record.exc_info:
                text = shortened(text)
            print(fit_terminal(text), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


class _Plain(logging.Formatter):
    """Information as it stands, everything else behind its level: ``warning: …``."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name == "py.warnings":  # of a library: its source line tells nobody anything
            text = text.partition("\n")[0]
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def diagnostics_handler(verbose: bool) -> logging.Handler:
    """A handler that writes log records to stderr; with the logger's name if ``verbose``."""
    handler = _StandardError()
    handler.setFormatter(_Plain("%(name)s: %(message)s") if verbose else _Plain("%(message)s"))
    return handler


def configure_logging(verbose: bool, quiet: bool) -> None:
    """Send diagnostics to stderr: warnings of all, and information of clsbench itself."""
    handler = diagnostics_handler(verbose)
    others = logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.captureWarnings(True)
    own = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    logging.getLogger("clsbench").setLevel(own)
