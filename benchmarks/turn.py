"""The other end of ``benchmarks.watch.turns``: how a process asks for its turns."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any


class Turn:
    """The right to time a round, as ``check --against`` of the watch gives it at ``address``."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        server = socket.create_connection((host, int(port)))
        # Otherwise a line waits, up to 40 ms, until the one before is acknowledged.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = server.makefile("rw", encoding="utf-8")

    def will(self, benchmarks: Sequence[str]) -> None:
        """Announce the benchmarks to be timed, in order."""
        self._tell({"what": "will", "benchmarks": list(benchmarks)})

    @contextlib.contextmanager
    def at(self, benchmark: str, seconds: float) -> Iterator[float]:
        """Time one together with the others, so many ``seconds`` a call; what all reckon with."""
        yield self._ask({"what": "at", "benchmark": benchmark, "seconds": seconds})
        self._ask({"what": "leave"})  # not after a failure: the next request implies it

    def begin(self) -> None:
        """Wait for a turn."""
        self._ask({"what": "round"})

    def end(self) -> None:
        """Let the next one begin."""
        self._tell({"what": "over"})

    def _ask(self, question: dict[str, Any]) -> float:
        self._tell(question)
        answer = self._lines.readline()
        if not answer:
            raise ConnectionError("the process that grants turns has ended")
        return float(json.loads(answer)["seconds"])

    def _tell(self, said: dict[str, Any]) -> None:
        self._lines.write(json.dumps(said) + "\n")
        self._lines.flush()
