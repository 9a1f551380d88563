"""Print errors on stderr: never boxed, wrapped on terminals only."""

from __future__ import annotations

import errno
import shutil
import sys

import rich_click as click

from clsbench.system.device_errors import device_error, first_line, is_out_of_memory
from clsbench.system.printable import printable, wrapped

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells."""

LONGEST_MESSAGE = 2000
"""The maximum length of an error or warning in characters; it may quote long values."""

_CIRCUMSTANCES = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
}
"""Operating system errors caused by the machine or the user, not by a bug."""


def report_error(message: str, hint: str | None = None) -> None:
    """Write ``error: message`` to stderr, followed by the hint."""
    text = fit_terminal(shortened(printable(f"error: {message}", keep="\n")))
    click.echo(click.style("error:", fg="red", bold=True) + text.removeprefix("error:"), err=True)
    if hint:
        click.echo(printable(hint, keep="\n"), err=True)


def shortened(message: str) -> str:
    """``message`` cut in its middle to at most :data:`LONGEST_MESSAGE` characters."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    end = LONGEST_MESSAGE // 3
    start = LONGEST_MESSAGE - end - 50
    left_out = len(message) - start - end
    return f"{message[:start]} … ({left_out:,} characters left out) … {message[-end:]}"


def fit_terminal(text: str) -> str:
    """Wrap ``text`` if stderr is a terminal."""
    if not sys.stderr.isatty():
        return text
    return wrapped(text, shutil.get_terminal_size().columns)


def report_unexpected(error: Exception, verbose: bool) -> int:
    """Report an unexpected error and return the exit code.

    The traceback of a bug is saved to a file, or printed if ``verbose``.
    """
    if isinstance(error, OSError) and error.errno in _CIRCUMSTANCES:
        report_error(str(error))
        return 2 if error.errno == errno.ENAMETOOLONG else 1
    if (problem := device_error(error)) is not None:
        report_error(_device_text(problem))
        return 1
    import traceback

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
        f"{what}{place}; this is a bug in clsbench or in a plugin; the traceback is {kept}"
    )
    return 1


def _device_text(error: BaseException) -> str:
    """An error of a device outside of a run, and what to try."""
    if is_out_of_memory(error):
        return (
            f"out of memory: {first_line(error)}. Try --precision bf16 or another device (--device)"
        )
    return f"the device failed: {first_line(error)}. Check it, or choose another one (--device)"


def _keep(trace: str) -> str:
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="clsbench-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(trace)
        return file.name
    except OSError:
        click.echo(printable(trace, keep="\n\t"), err=True, nl=False)
        return "above"
