"""SIGTERM, by which clusters and systems end a process, treated as Ctrl-C is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""The exit code after SIGTERM, as shells have it."""


class Terminated(KeyboardInterrupt):
    """The process was told to end: what was learned is kept, as after Ctrl-C."""


@contextmanager
def heeding_sigterm() -> Iterator[list[int]]:
    """Raise :class:`Terminated` at the first SIGTERM in the block; the list holds all that came.

    A SIGTERM that somebody else handles or ignores is left to them.
    """
    received: list[int] = []
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield received
        return

    def heed(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:  # some send it until the process has ended
            raise Terminated("terminated by SIGTERM")

    signal.signal(signal.SIGTERM, heed)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
