"""Processes that take turns: one times a round while the others wait.

They see the same hour so, and the same second: whatever slows the machine slows them all.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
from collections import deque
from collections.abc import Sequence

_SECONDS_BETWEEN_LOOKS = 0.05

_ASKS, _MAY = b"?", b"!"
"""What a process says that wants to time a round, and what it is told; any other byte from it ends
its round. ``benchmarks/rounds.py`` writes them out: older sources are timed with it, too."""


class Turns:
    """Lets processes that connect to ``address`` time their rounds one after the other.

    A round begins only when every process wants to begin one or has ended, so that nobody is timed
    while another prepares what is next.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._server.getsockname())
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._waiting: deque[socket.socket] = deque()
        self._timing: socket.socket | None = None

    def close(self) -> None:
        """Hang up on everybody."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def attend(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """Give turns until all processes have ended, or one has failed."""
        while running := sum(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                return
            for key, _ in self._selector.select(_SECONDS_BETWEEN_LOOKS):
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._server:
                    self._selector.register(self._server.accept()[0], selectors.EVENT_READ)
                else:
                    self._hear(key.fileobj)
            if self._timing is None and self._waiting and len(self._waiting) >= running:
                self._timing = self._waiting.popleft()  # whoever has waited longest
                self._tell(self._timing)

    def _hear(self, process: socket.socket) -> None:
        try:
            said = process.recv(1)
        except ConnectionError:
            said = b""
        if said == _ASKS:
            self._waiting.append(process)
            return
        if process is self._timing:
            self._timing = None
        if not said:
            self._forget(process)

    def _tell(self, process: socket.socket) -> None:
        try:
            process.sendall(_MAY)
        except ConnectionError:  # it has just ended
            self._timing = None
            self._forget(process)

    def _forget(self, process: socket.socket) -> None:
        if process in self._waiting:
            self._waiting.remove(process)
        self._selector.unregister(process)
        process.close()
