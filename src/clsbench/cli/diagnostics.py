"""Diagnostics on stderr, through ``logging``."""

from __future__ import annotations

import logging
import sys

from clsbench.cli.errors import fit_terminal, shortened
from clsbench.system.printable import printable


class _StandardError(logging.Handler):
    """Writes to the current ``sys.stderr``, which a live display may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = printable(self.format(record), keep="\n\t")
            if not record.exc_info:
                text = shortened(text)
            print(fit_terminal(text), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


class _Plain(logging.Formatter):
    """Prefixes messages with their level (``warning: …``), except information."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name == "py.warnings":  # omit the source line of the library
            text = text.partition("\n")[0]
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def diagnostics_handler(verbose: bool) -> logging.Handler:
    """A handler that writes log records to stderr, with the logger's name if ``verbose``."""
    handler = _StandardError()
    handler.setFormatter(_Plain("%(name)s: %(message)s") if verbose else _Plain("%(message)s"))
    return handler


def configure_logging(verbose: bool, quiet: bool) -> None:
    """Send diagnostics to stderr: all warnings, and information from clsbench."""
    handler = diagnostics_handler(verbose)
    others = logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.captureWarnings(True)
    own = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    logging.getLogger("clsbench").setLevel(own)
