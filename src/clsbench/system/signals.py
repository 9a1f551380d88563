"""The signals that end a run, and a block that defers them while a result is written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TERMINATING_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""Signals that end a run as Ctrl-C does. Windows has no SIGHUP."""


@contextmanager
def deferring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C in the block, which writes results and takes only a moment.

    A SIGTERM or SIGHUP takes effect at the end of the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    terminations: list[int] = []
    numbers = (signal.SIGINT, *TERMINATING_SIGNALS)
    former = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in TERMINATING_SIGNALS:
        if former[number] not in (
            None,
            signal.SIG_IGN,
        ):  # None: not set by Python, so it cannot be restored
            signal.signal(number, lambda number, frame: terminations.append(number))
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:
                signal.signal(number, handler)
        if terminations:
            signal.raise_signal(terminations[0])
