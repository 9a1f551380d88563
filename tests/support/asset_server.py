"""A web server on loopback that misbehaves as configured, and what tests of downloads share."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import select
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clsbench import Asset, WebFile
from clsbench.assets import Limits

REVISION = "0123456789abcdef0123456789abcdef01234567"

PATIENT = Limits(
    stall_seconds=90.0,
    silence_seconds=10_000.0,
    rounds=2,
    backoff_seconds=0.05,
)
"""Longer than any test: only a :class:`StallClock` makes a source stall."""


class StallClock:
    """Time that passes only while the server sends nothing, however busy the machine is.

    It also stands still until ``arrived`` returns true.
    """

    def __init__(
        self, server: AssetServer, arrived: Callable[[], bool] = lambda: True, step: float = 15.0
    ) -> None:
        self.now_seconds = 0.0
        self._server, self._arrived, self._step = server, arrived, step

    def __call__(self) -> float:
        if self._server.hanging and self._arrived():
            self.now_seconds += self._step
        return self.now_seconds


class Handler(BaseHTTPRequestHandler):
    """Responds with the behaviour that the test has set for the path."""

    server: AssetServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.command, self.path))
        behaviour = self.server.routes.get(self.path, status(404))
        try:
            behaviour(self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()

    do_GET = do_HEAD = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def begin(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)
            self.wfile.flush()

    def hang(self) -> None:
        """Send nothing more until the client disconnects or the test ends."""
        self.server.hanging.append(self)
        try:
            while not self.server.closing.wait(0.01):
                readable, _, _ = select.select([self.connection], [], [], 0)
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return
        finally:
            self.server.hanging.remove(self)


Behaviour = Callable[[Handler], None]


class AssetServer(ThreadingHTTPServer):
    """Routes by path; records connections and requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: dict[str, Behaviour] = {}
        self.requests: list[tuple[str, str]] = []
        self.connections = 0
        self.hanging: list[Handler] = []
        self.closing = threading.Event()
        self.hung_up = threading.Event()

    def get_request(self) -> tuple[Any, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: tests kill clients."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def at(self, path: str, behaviour: Behaviour) -> str:
        """Set the behaviour for a path; returns its URL."""
        self.routes[path] = behaviour
        return self.url + path

    def at_hub(self, repository: str, filename: str, behaviour: Behaviour) -> None:
        self.at(f"/{repository}/resolve/{REVISION}/{filename}", behaviour)

    def count(self, path: str) -> int:
        return sum(asked == path for _, asked in self.requests)


# --- behaviours ----------------------------------------------------------------------------------


def serves(content: bytes, **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.begin(200, len(content), **headers)
        handler.send(content)

    return behave


def serves_without_length(content: bytes) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.begin(200, None)
        handler.send(content)

    return behave


def status(code: int, **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.begin(code, 0, **headers)

    return behave


def stalls(handler: Handler) -> None:
    """Accepts the connection and sends nothing."""
    handler.hang()


def stalls_half_way(content: bytes, **headers: str) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.begin(200, len(content), **headers)
        if handler.command != "HEAD":
            handler.send(content[: len(content) // 2])
            handler.hang()

    return behave


def breaks_off(content: bytes, **headers: str) -> Behaviour:
    """Sends half of the content, with the Content-Length of all."""

    def behave(handler: Handler) -> None:
        handler.begin(200, len(content), **headers)
        handler.send(content[: len(content) // 2])

    return behave


def breaks_off_silently(content: bytes) -> Behaviour:
    """Sends half of the content without a Content-Length."""
    return serves_without_length(content[: len(content) // 2])


def in_pieces(content: bytes, before_each: Callable[[int], object], **headers: str) -> Behaviour:
    """Sends twenty pieces; ``before_each`` is called with the number of each piece, from 0."""

    def behave(handler: Handler) -> None:
        handler.begin(200, len(content), **headers)
        if handler.command == "HEAD":
            return
        step = -(-len(content) // 20)
        for number, start in enumerate(range(0, len(content), step)):
            before_each(number)
            handler.send(content[start : start + step])

    return behave


class RecordingObserver:
    """Records what a progress display receives."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def started(self, key: str, url: str) -> None:
        self.events.append(("started", key, url))

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        self.events.append(("received", key, received_bytes, total_bytes))

    def finished(self, key: str, succeeded: bool) -> None:
        self.events.append(("finished", key, succeeded))


class Slow(RecordingObserver):
    """A source that sends each of twenty pieces a minute after the previous one has arrived.

    It is also the clock, and the progress observer by which it sees what has arrived.
    """

    PIECE_BYTES = 65_536

    def __init__(self) -> None:
        super().__init__()
        self.content = os.urandom(20 * self.PIECE_BYTES)
        self.now_seconds = 0.0
        self._arrived = threading.Semaphore(0)
        self._pieces = 0

    def clock(self) -> float:
        return self.now_seconds

    def serves(self, **headers: str) -> Behaviour:
        return in_pieces(self.content, self._wait, **headers)

    def _wait(self, number: int) -> None:
        if number:
            self._arrived.acquire()
        self.now_seconds += 60.0

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        super().received(key, received_bytes, total_bytes)
        while self._pieces < received_bytes // self.PIECE_BYTES:
            self._pieces += 1
            self._arrived.release()


def something_arrived(folder: Path) -> bool:
    """Whether a partial file exists in a staging folder."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                file = os.path.join(parent, name)
                if ".clsbench-partial-" in parent and os.stat(file).st_size > 1000:
                    return True
    return False


def sends_without_end(handler: Handler) -> None:
    handler.begin(200, None)
    while not handler.server.closing.is_set():
        handler.send(b"\0" * 65536)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each request gets the next behaviour; the last one stays."""
    lock = threading.Lock()
    left = list(behaviours)

    def behave(handler: Handler) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(handler)

    return behave


def damaged(content: bytes) -> bytes:
    """``content`` with one bit flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


def hub_headers(content: bytes) -> dict[str, str]:
    """The hub's headers for a large file: the hash of its content, and the commit."""
    return {"ETag": f'"{sha256(content)}"', "X_Repo_Commit": REVISION}


# --- assets --------------------------------------------------------------------------------------


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def web_asset(
    content: bytes, *urls: str, key: str = "data/file.bin", member: str | None = None
) -> Asset:
    return Asset(
        key=key,
        sources=tuple(WebFile(url, member) for url in urls),
        sha256=sha256(content),
        size_bytes=len(content),
    )


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


# --- fixtures ------------------------------------------------------------------------------------


@contextmanager
def running_server() -> Iterator[AssetServer]:
    server = AssetServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[AssetServer]:
    """A web server on loopback."""
    with running_server() as running:
        yield running


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with separate caches for the test: ``own``, ``hf/hub`` and ``tiktoken``."""
    from huggingface_hub import constants

    folder = tmp_path / "caches"
    monkeypatch.setenv("CLSBENCH_CACHE", str(folder / "own"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder / "tiktoken"))
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    for variable in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "CLSBENCH_ASSETS"):
        monkeypatch.delenv(variable, raising=False)
    # Read from the environment once, at import.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hf" / "hub"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def hub(server: AssetServer, caches: Path, monkeypatch: pytest.MonkeyPatch) -> AssetServer:
    """The same server in the role of the Hugging Face hub."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server
