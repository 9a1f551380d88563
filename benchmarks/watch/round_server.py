"""Let processes time their rounds alternately: one times a round while the others wait.

Slow phases of the machine then affect all of them alike.

The protocol, one JSON object per line: a process announces the benchmarks that it will time
(``will``). For each it reports its arrival and the time of a call (``at``, ``seconds``), and
receives the shortest time of all processes once all that time this benchmark have arrived. It
requests each round (``round``), receives a reply, and reports its end (``over``). It leaves the
benchmark (``leave``) and receives a reply once all have. The client is
``benchmarks/round_client.py``.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
from collections.abc import Sequence
from typing import Literal

import msgspec

SOME_FAILED = 1
"""Pytest's exit code if some tests failed."""

_SECONDS_BETWEEN_LOOKS = 0.05


class _Message(msgspec.Struct):
    """A message of a client."""

    what: Literal["will", "at", "round", "over", "leave"]
    benchmarks: list[str] = []
    benchmark: str = ""
    seconds: float = 0.0


_MESSAGES = msgspec.json.Decoder(_Message)


class _Client:
    """A connected process: its benchmark and the request that it waits for."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.places: dict[str, int] | None = None
        self.place = -1
        self.benchmark = ""
        self.seconds = 0.0
        self.waits_for: Literal["", "at", "round", "leave"] = ""
        self.asked = 0
        self._heard = b""

    def hear(self) -> list[_Message] | None:
        """The messages received; ``None`` if the connection is closed."""
        try:
            heard = self.connection.recv(65_536)
        except ConnectionError:
            heard = b""
        if not heard:
            return None
        *lines, self._heard = (self._heard + heard).split(b"\n")
        return [_MESSAGES.decode(line) for line in lines]

    def send(self, seconds: float = 0.0) -> None:
        """Reply to the pending request."""
        self.waits_for = ""
        try:
            self.connection.sendall(msgspec.json.encode({"seconds": seconds}) + b"\n")
        except ConnectionError:  # the process has ended, which is detected next
            return

    def comes_to(self, benchmark: str) -> bool:
        """Whether the process is at this benchmark or will still reach it."""
        return self.places is None or self.places.get(benchmark, -1) >= self.place


class RoundServer:
    """Lets processes that connect to ``address`` time their rounds one after the other.

    The processes go through their benchmarks together; a benchmark that some of them do not have is
    timed by the others. A round begins only when all processes at the same benchmark have requested
    one and none of them is preparing a round, so that preparations do not disturb rounds.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._sides: dict[socket.socket, _Client] = {}
        self._members: list[_Client] = []
        """The processes that time the current benchmark."""
        self._timing: _Client | None = None
        self._asked = 0

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def attend(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Grant rounds until all processes have ended, or one has failed completely."""
        while running := sum(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0, SOME_FAILED) for process in processes):
                return
            for key, _ in self._selector.select(_SECONDS_BETWEEN_LOOKS):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._server:
                    connection = self._server.accept()[0]
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._selector.register(connection, selectors.EVENT_READ)
                    self._sides[connection] = _Client(connection)
                else:
                    self._hear(self._sides[key.fileobj])
            if self._timing is None:
                self._go_on(running)

    def _hear(self, side: _Client) -> None:
        said = side.hear()
        if said is None:
            self._forget(side)
            return
        for each in said:
            if each.what == "will":
                side.places = {name: place for place, name in enumerate(each.benchmarks)}
            elif each.what == "over":
                self._timing = None
            else:
                self._asked += 1
                side.waits_for, side.asked = each.what, self._asked
                if each.what == "at":
                    if side in self._members:  # the benchmark failed
                        self._members.remove(side)
                    side.benchmark, side.seconds = each.benchmark, each.seconds
                    side.place = (side.places or {}).get(each.benchmark, side.place)
                if self._timing is side:  # a call failed, so its round has no end
                    self._timing = None

    def _go_on(self, running: int) -> None:
        """Let the next process continue."""
        if self._members:
            waiting = [side for side in self._members if side.waits_for == "round"]
            if len(waiting) == len(self._members):
                self._timing = min(waiting, key=lambda side: side.asked)
                self._timing.send()
            elif all(side.waits_for in ("round", "leave") for side in self._members):
                if waiting:  # the others have finished their rounds
                    self._timing = min(waiting, key=lambda side: side.asked)
                    self._timing.send()
                else:
                    members, self._members = self._members, []
                    for side in members:
                        side.send()
            return
        sides = list(self._sides.values())
        if len(sides) < running or not all(side.waits_for == "at" for side in sides):
            return  # a process has not arrived yet
        if not sides:
            return
        first = min(sides, key=lambda side: side.asked)
        ready = (side for side in sides if not self._awaited(side.benchmark))
        benchmark = next(ready, first).benchmark
        self._members = [side for side in sides if side.benchmark == benchmark]
        seconds = min(side.seconds for side in self._members)
        for side in self._members:
            side.send(seconds)

    def _awaited(self, benchmark: str) -> bool:
        """Whether another process will reach this benchmark."""
        return any(
            side.benchmark != benchmark and side.comes_to(benchmark)
            for side in self._sides.values()
        )

    def _forget(self, side: _Client) -> None:
        if side is self._timing:
            self._timing = None
        if side in self._members:
            self._members.remove(side)
        del self._sides[side.connection]
        self._selector.unregister(side.connection)
        side.connection.close()
