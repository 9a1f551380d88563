"""What the options before the command say, for every command: plugins and how much to tell."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, NamedTuple

from clsbench.cli.errors import fit_terminal
from clsbench.cli.output import only_results_on_stdout

if TYPE_CHECKING:
    from clsbench.catalog import Catalog

logger = logging.getLogger(__name__)


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
        from clsbench.catalog import load_catalog

        with only_results_on_stdout():
            catalog = load_catalog(self.plugins)
        for failure in catalog.failures:
            logger.warning("skipped an installed plugin: %s", failure.reason)
        return catalog


class _StandardError(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at that moment: a live display may stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(fit_terminal(self.format(record)), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


class _Plain(logging.Formatter):
    """Information as it stands, everything else behind its level: ``warning: …``."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name == "py.warnings":  # of a library: its source line tells nobody anything
            text = text.partition("\n")[0]
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def configure_logging(verbose: bool, quiet: bool) -> None:
    """Send diagnostics to stderr: warnings of all, and information of clsbench itself."""
    handler = _StandardError()
    handler.setFormatter(_Plain("%(name)s: %(message)s") if verbose else _Plain("%(message)s"))
    others = logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(handlers=[handler], level=others, force=True)
    logging.captureWarnings(True)
    own = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    logging.getLogger("clsbench").setLevel(own)
