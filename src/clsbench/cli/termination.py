"""Handle SIGTERM and SIGHUP (sent when a terminal closes) like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clsbench.system.signals import TERMINATING_SIGNALS

TERMINATED = 128 + signal.SIGTERM
"""The exit code after SIGTERM, as in shells."""


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM or SIGHUP; partial results are kept, as after Ctrl-C."""


@contextmanager
def handling_termination() -> Iterator[list[int]]:
    """Raise :class:`Terminated` at the first SIGTERM or SIGHUP in the block.

    The list holds all signals received. A signal that is already handled or ignored (``nohup``
    ignores SIGHUP) is left alone.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    heeded = [n for n in TERMINATING_SIGNALS if signal.getsignal(n) is signal.SIG_DFL]

    def heed(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:  # some senders repeat it until the process exits
            raise Terminated(f"terminated by {signal.Signals(number).name}")

    for each in heeded:
        signal.signal(each, heed)
    try:
        yield received
    finally:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)
