"""How the command line tells what went wrong: on stderr, never boxed, wrapped on terminals only."""

from __future__ import annotations

import errno
import shutil
import sys
import tempfile
import traceback

import rich_click as click

from clsbench.printable import printable, wrapped

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

_CIRCUMSTANCES = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""Operating system errors that are the machine's, not a bug."""


def report_error(message: str, hint: str | None = None) -> None:
    """Write ``error: message`` to stderr, and a line with the hint."""
    text = fit_terminal(printable(f"error: {message}", keep="\n"))
    click.echo(click.style("error:", fg="red", bold=True) + text.removeprefix("error:"), err=True)
    if hint:
        click.echo(printable(hint, keep="\n"), err=True)


def fit_terminal(text: str) -> str:
    """Break lines between words where stderr is a terminal; elsewhere nothing is broken."""
    if not sys.stderr.isatty():
        return text
    return wrapped(text, shutil.get_terminal_size().columns)


def report_bug(error: Exception, verbose: bool) -> None:
    """Say that something unforeseen happened, and keep the traceback where it can be found."""
    if isinstance(error, OSError) and error.errno in _CIRCUMSTANCES:
        report_error(str(error))
        return
    trace = "".join(traceback.format_exception(error))
    if verbose:
        click.echo(printable(trace, keep="\n\t"), err=True, nl=False)
        kept = "above"
    else:
        kept = f"in {_keep(trace)}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    report_error(
        f"{what}{place}; this is a bug in clsbench or in a plugin, the traceback stands {kept}"
    )


def _keep(trace: str) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="clsbench-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(trace)
        return file.name
    except OSError:
        click.echo(printable(trace, keep="\n\t"), err=True, nl=False)
        return "above"
