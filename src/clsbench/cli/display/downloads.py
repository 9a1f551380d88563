"""Display downloads: live bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

    from clsbench.assets import DownloadProgress

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Transfer(NamedTuple):
    """One download in progress."""

    url: str
    received_bytes: int
    total_bytes: int | None


class Transfers:
    """The downloads in progress. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._going: dict[str, Transfer] = {}

    def started(self, key: str, url: str) -> None:
        """A download from ``url`` starts."""
        with self._lock:
            self._going[key] = Transfer(url, 0, None)

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        """Update the size received so far."""
        with self._lock:
            if key in self._going:
                self._going[key] = Transfer(self._going[key].url, received_bytes, total_bytes)

    def finished(self, key: str, succeeded: bool) -> None:
        """The download of this asset has ended."""
        with self._lock:
            transfer = self._going.pop(key, None)
        if succeeded and transfer is not None:
            logger.info("downloaded %s from %s", key, transfer.url)

    def going(self) -> dict[str, Transfer]:
        """The current downloads, by asset."""
        with self._lock:
            return dict(self._going)


class TransferLines(Transfers):
    """Logs the start, the progress every ten seconds and the end of each download."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_line: dict[str, float] = {}

    def started(self, key: str, url: str) -> None:
        """A download from ``url`` starts."""
        super().started(key, url)
        self._last_line[key] = self._clock()
        logger.info("downloading %s from %s", key, url)

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        """Update the size received so far."""
        super().received(key, received_bytes, total_bytes)
        now = self._clock()
        if now - self._last_line.get(key, now) >= _SECONDS_BETWEEN_LINES:
            self._last_line[key] = now
            logger.info("downloading %s: %s", key, amount(received_bytes, total_bytes))


@contextmanager
def showing_downloads(quiet: bool) -> Iterator[DownloadProgress | None]:
    """Show on stderr the downloads that report to the yielded object."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield TransferLines()
    else:
        from rich.live import Live

        from clsbench.report.terminal.console import Console

        transfers, console = Transfers(), Console(stderr=True)
        with Live(
            get_renderable=lambda: render_transfers(transfers.going(), console.width),
            console=console,
            transient=True,
        ):
            yield transfers


def render_transfers(going: dict[str, Transfer], width: int) -> RenderableType:
    """A bar for each download."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from clsbench.report.wording import plain

    table = Table.grid(padding=(0, 1))
    for key, transfer in sorted(going.items()):
        table.add_row(
            plain(key, "bold"),
            ProgressBar(
                total=transfer.total_bytes,
                completed=transfer.received_bytes,
                pulse=transfer.total_bytes is None,
                width=min(40, max(5, width - 60)),
            ),
            Text(amount(transfer.received_bytes, transfer.total_bytes)),
        )
    return table


def amount(received_bytes: int, total_bytes: int | None) -> str:
    """``12.3 of 548.1 MB``."""
    received = f"{received_bytes / 1e6:.1f}"
    if not total_bytes:
        return f"{received} MB"
    return f"{received} of {total_bytes / 1e6:.1f} MB ({received_bytes / total_bytes:.0%})"
