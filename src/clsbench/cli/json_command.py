"""Commands with ``--json``: whatever happens, stdout holds exactly one JSON object."""

from __future__ import annotations

from typing import Any

import rich_click as click
from click.exceptions import Exit

from clsbench.cli.errors import INTERRUPTED
from clsbench.cli.output import write_json
from clsbench.cli.termination import TERMINATED, Terminated
from clsbench.errors import ClsbenchError

_TOLD = "clsbench.json_told"


def tell_json(ctx: click.Context, value: Any) -> None:
    """Write the result of a command as its one JSON object."""
    ctx.meta[_TOLD] = True
    write_json(value)


class JsonCommand(click.RichCommand):
    """A command that, asked for ``--json``, tells on stdout too why there is no result."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line; a mistake in it is told as JSON where that is asked for."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            if as_json:
                _tell_failure(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Do what the command does; what keeps it from a result is told as JSON too."""
        try:
            return super().invoke(ctx)
        except (Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params.get("as_json") and _TOLD not in ctx.meta:
                _tell_failure(error)
            raise


def _tell_failure(error: BaseException) -> None:
    status, code = "failed", 1
    if isinstance(error, click.ClickException):
        text, code = error.format_message(), error.exit_code
    elif isinstance(error, ClsbenchError):
        text, code = str(error), error.exit_code
    elif isinstance(error, Terminated):
        status, text, code = "interrupted", str(error), TERMINATED
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        status, text, code = "interrupted", "interrupted by the user", INTERRUPTED
    else:
        text = f"{type(error).__name__}: {error}"
    write_json({"status": status, "error": text, "exit_code": code, "path": None})
