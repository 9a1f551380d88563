"""The client of ``benchmarks.watch.round_server``, used by a process to request its rounds."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any


class RoundClient:
    """Requests rounds from the server of ``check --against`` at ``address``."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        server = socket.create_connection((host, int(port)))
        # Without this, a line may wait up to 40 ms for the acknowledgement of the previous one.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = server.makefile("rw", encoding="utf-8")

    def will(self, benchmarks: Sequence[str]) -> None:
        """Announce the benchmarks to be timed, in order."""
        self._send({"what": "will", "benchmarks": list(benchmarks)})

    @contextlib.contextmanager
    def at(self, benchmark: str, seconds: float) -> Iterator[float]:
        """Time a benchmark together with the other processes; yields the agreed ``seconds`` per
        call."""
        yield self._request({"what": "at", "benchmark": benchmark, "seconds": seconds})
        self._request({"what": "leave"})  # not after an error: the next request implies it

    def begin(self) -> None:
        """Wait until this process may time a round."""
        self._request({"what": "round"})

    def end(self) -> None:
        """Report the end of the round."""
        self._send({"what": "over"})

    def _request(self, question: dict[str, Any]) -> float:
        self._send(question)
        answer = self._lines.readline()
        if not answer:
            raise ConnectionError("the round server has ended")
        return float(json.loads(answer)["seconds"])

    def _send(self, said: dict[str, Any]) -> None:
        self._lines.write(json.dumps(said) + "\n")
        self._lines.flush()
