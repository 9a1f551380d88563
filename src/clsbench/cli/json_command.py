"""Commands with ``--json``: stdout holds exactly one JSON object, also after an error."""

from __future__ import annotations

from typing import Any

import rich_click as click
from click.exceptions import Exit

from clsbench.cli.errors import INTERRUPTED
from clsbench.cli.output import write_json
from clsbench.cli.termination import TERMINATED, Terminated
from clsbench.errors import ClsbenchError

_WRITTEN = "clsbench.json_written"


def write_result(ctx: click.Context, value: Any) -> None:
    """Write the result of a command as the only JSON object on stdout."""
    ctx.meta[_WRITTEN] = True
    write_json(value)


class JsonCommand(click.RichCommand):
    """A command that with ``--json`` writes an error to stdout too, as JSON."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the command line; write an error in it as JSON if ``--json`` is given."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            if as_json:
                _write_failure(error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; write an error as JSON too."""
        try:
            return super().invoke(ctx)
        except (Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if ctx.params.get("as_json") and _WRITTEN not in ctx.meta:
                _write_failure(error)
            raise


def _write_failure(error: BaseException) -> None:
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
