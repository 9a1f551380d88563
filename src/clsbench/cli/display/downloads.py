"""Display downloads: live bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from clsbench.cli.display.pace import bar
from clsbench.report.terminal.console import Console
from clsbench.schema.quantities import size_text
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from clsbench.assets import DownloadProgress

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class DownloadBars:
    """A bar for each download in progress."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            bar(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, str]] = {}

    def started(self, key: str, url: str) -> None:
        """A download from ``url`` starts."""
        self.finished(key, succeeded=False)  # an earlier source may have failed
        self._tasks[key] = self.bars.add_task(printable(key), total=None), url

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        """Update the size received so far."""
        self.bars.update(self._tasks[key][0], completed=received_bytes, total=total_bytes)

    def finished(self, key: str, succeeded: bool) -> None:
        """The download of this asset has ended."""
        if key in self._tasks:
            task, url = self._tasks.pop(key)
            self.bars.remove_task(task)
            if succeeded:
                logger.info("downloaded %s from %s", key, url)


class DownloadLines:
    """Logs the start, the progress every ten seconds and the end of each download."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._urls: dict[str, str] = {}
        self._last_line: dict[str, float] = {}

    def started(self, key: str, url: str) -> None:
        """A download from ``url`` starts."""
        self._urls[key] = url
        self._last_line[key] = self._clock()
        logger.info("downloading %s from %s", key, url)

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        """Log the size received so far."""
        now = self._clock()
        if now - self._last_line[key] >= _SECONDS_BETWEEN_LINES:
            self._last_line[key] = now
            size = size_text(received_bytes)
            if total_bytes:
                size += f" of {size_text(total_bytes)} ({received_bytes / total_bytes:.0%})"
            logger.info("downloading %s: %s", key, size)

    def finished(self, key: str, succeeded: bool) -> None:
        """The download of this asset has ended."""
        if succeeded:
            logger.info("downloaded %s from %s", key, self._urls[key])


@contextmanager
def showing_downloads(quiet: bool) -> Iterator[DownloadProgress | None]:
    """Show on stderr the downloads that report to the yielded object."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield DownloadLines()
    else:
        downloads = DownloadBars(Console(stderr=True))
        with downloads.bars:
            yield downloads
