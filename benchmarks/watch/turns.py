"""Processes that take turns: one times a round while the others wait.

Slow phases of the machine thus affect all of them alike.

The protocol, one JSON object per line: a process announces the benchmarks that it will time
(``will``), and for each its arrival and the time of a call (``at``, ``seconds``); it is answered
once all processes that time it have arrived, with the shortest of their times. It requests each
round (``round``), is answered, and reports its end (``over``). It leaves the benchmark (``leave``)
and is answered once all have. ``benchmarks/turn.py`` is the other end.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
from collections.abc import Sequence
from typing import Literal

import msgspec

SOME_FAILED = 1
"""Pytest's exit code where some of its tests fail, and the others are done."""

_SECONDS_BETWEEN_LOOKS = 0.05


class _Said(msgspec.Struct):
    """What a process says."""

    what: Literal["will", "at", "round", "over", "leave"]
    benchmarks: list[str] = []
    benchmark: str = ""
    seconds: float = 0.0


_SAID = msgspec.json.Decoder(_Said)


class _Side:
    """A process at the other end: where it is, and what it waits for."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.places: dict[str, int] | None = None
        self.place = -1
        self.benchmark = ""
        self.seconds = 0.0
        self.waits_for: Literal["", "at", "round", "leave"] = ""
        self.asked = 0
        self._heard = b""

    def hear(self) -> list[_Said] | None:
        """What it has said; ``None`` once it has hung up."""
        try:
            heard = self.connection.recv(65_536)
        except ConnectionError:
            heard = b""
        if not heard:
            return None
        *lines, self._heard = (self._heard + heard).split(b"\n")
        return [_SAID.decode(line) for line in lines]

    def send(self, seconds: float = 0.0) -> None:
        """Let it go on."""
        self.waits_for = ""
        try:
            self.connection.sendall(msgspec.json.encode({"seconds": seconds}) + b"\n")
        except ConnectionError:  # it has just ended, which is heard next
            return

    def comes_to(self, benchmark: str) -> bool:
        """Whether it is going to time it yet, or is just there."""
        return self.places is None or self.places.get(benchmark, -1) >= self.place


class Turns:
    """Lets processes that connect to ``address`` time their rounds one after the other.

    They go through their benchmarks together; one that some of them do not have is timed by the
    others. A round begins only when every process that times the same wants to begin one, and
    no process prepares the next one, so that no preparation disturbs a round.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._sides: dict[socket.socket, _Side] = {}
        self._members: list[_Side] = []
        """Those that time the benchmark under way."""
        self._timing: _Side | None = None
        self._asked = 0

    def close(self) -> None:
        """Hang up on everybody."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def attend(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Give turns until all processes have ended, or one has failed as a whole."""
        while running := sum(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0, SOME_FAILED) for process in processes):
                return
            for key, _ in self._selector.select(_SECONDS_BETWEEN_LOOKS):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._server:
                    connection = self._server.accept()[0]
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._selector.register(connection, selectors.EVENT_READ)
                    self._sides[connection] = _Side(connection)
                else:
                    self._hear(self._sides[key.fileobj])
            if self._timing is None:
                self._go_on(running)

    def _hear(self, side: _Side) -> None:
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
                    if side in self._members:  # it failed where it was
                        self._members.remove(side)
                    side.benchmark, side.seconds = each.benchmark, each.seconds
                    side.place = (side.places or {}).get(each.benchmark, side.place)
                if self._timing is side:  # a call failed: its round has no end
                    self._timing = None

    def _go_on(self, running: int) -> None:
        """Let the next process continue."""
        if self._members:
            waiting = [side for side in self._members if side.waits_for == "round"]
            if len(waiting) == len(self._members):
                self._timing = min(waiting, key=lambda side: side.asked)
                self._timing.send()
            elif all(side.waits_for in ("round", "leave") for side in self._members):
                if waiting:  # the others have done all their rounds
                    self._timing = min(waiting, key=lambda side: side.asked)
                    self._timing.send()
                else:
                    members, self._members = self._members, []
                    for side in members:
                        side.send()
            return
        sides = list(self._sides.values())
        if len(sides) < running or not all(side.waits_for == "at" for side in sides):
            return  # a process is on its way
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
        """Whether another process will come to it."""
        return any(
            side.benchmark != benchmark and side.comes_to(benchmark)
            for side in self._sides.values()
        )

    def _forget(self, side: _Side) -> None:
        if side is self._timing:
            self._timing = None
        if side in self._members:
            self._members.remove(side)
        del self._sides[side.connection]
        self._selector.unregister(side.connection)
        side.connection.close()
