"""One attempt to fetch one file from one source, in a monitored child process."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from clsbench.components.values import Asset, HubFile, WebFile

Clock = Callable[[], float]
POLL_SECONDS = 0.05


class AttemptFailedError(Exception):
    """The reason why a download attempt failed.

    ``permanent`` means that retrying the same source is pointless. ``idle_seconds`` is how long
    the attempt had waited for data when it was ended.
    """

    def __init__(self, reason: str, *, permanent: bool = False, idle_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.idle_seconds = idle_seconds


class StallTimeout:
    """Time limit without new data from any source, shared by all downloads of one request."""

    def __init__(self, limit_seconds: float, clock: Clock = time.monotonic) -> None:
        self.limit_seconds = limit_seconds
        self.clock = clock
        self.restart()

    def restart(self) -> None:
        """Restart the clock, since data has arrived."""
        self._last_data = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether the limit is exceeded."""
        return self.clock() - self._last_data > self.limit_seconds


class Bounds(NamedTuple):
    """What ends an attempt early; ``received`` is called with its size when it has grown."""

    limit_bytes: int
    stall_seconds: float
    timeout: StallTimeout
    stopped: threading.Event
    received: Callable[[int], None]


def source_url(source: WebFile | HubFile) -> str:
    """The URL of a source for a browser."""
    if isinstance(source, WebFile):
        return source.url
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    place = "datasets/" if source.kind == "dataset" else ""
    return f"{endpoint}/{place}{source.repository}/resolve/{source.revision}/{source.filename}"


def transfer(source: WebFile | HubFile, staging: Path, bounds: Bounds) -> Path:
    """Fetch the file of ``source`` into the empty folder ``staging``, without verifying it.

    Raises:
        AttemptFailedError: no response, an invalid response, or out of bounds.
    """
    folder, ready = staging / "files", staging / "ready"
    folder.mkdir()
    order = {
        **msgspec.to_builtins(source),
        "folder": str(folder),
        "ready": str(ready),
        "connect_seconds": bounds.stall_seconds / 3,
    }
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        # Xet retries internally, without reporting it; set this to 0 to enable it.
        "HF_HUB_DISABLE_XET": os.environ.get("HF_HUB_DISABLE_XET", "1"),
        "HF_HUB_DISABLE_SHARED_BLOBS": "1",  # whose links would lead out of the staging folder
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    }
    with (staging / "stderr").open("wb") as stderr:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "clsbench.assets.transfer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        except OSError as error:
            raise AttemptFailedError(
                f"the download process cannot be started: {error}", permanent=True
            ) from None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        _watch(process, folder, ready, bounds)
        outcome = process.stdout.read()
    except BrokenPipeError:
        outcome = b""
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return _read_outcome(outcome, staging)


def _watch(process: subprocess.Popen[bytes], folder: Path, ready: Path, bounds: Bounds) -> None:
    """Wait until the process ends.

    A download counts as stalled if the size on disk has not exceeded its maximum for
    ``stall_seconds``, so a server that repeatedly sends the same partial file stalls too.
    """
    largest_bytes, last_data = 0, bounds.timeout.clock()
    while process.poll() is None:
        now, size_bytes = bounds.timeout.clock(), _bytes_below(folder)
        if size_bytes > largest_bytes:
            largest_bytes, last_data = size_bytes, now
            bounds.timeout.restart()
            bounds.received(size_bytes)
        elif not ready.exists():  # still importing
            last_data = now
        if size_bytes > bounds.limit_bytes:
            raise AttemptFailedError(
                f"it sends more than the allowed {bounds.limit_bytes:,} bytes", permanent=True
            )
        if (idle_seconds := now - last_data) > bounds.stall_seconds:
            stalled = f"it stalled after {largest_bytes:,} bytes: no new data for"
            what = stalled if largest_bytes else "no data within"
            raise AttemptFailedError(
                f"{what} {bounds.stall_seconds:.2g} s", idle_seconds=idle_seconds
            )
        if bounds.timeout.is_over:
            limit = f"{bounds.timeout.limit_seconds:.2g} s"
            raise AttemptFailedError(f"no data from any source for {limit}")
        if bounds.stopped.wait(POLL_SECONDS):
            raise AttemptFailedError("interrupted", permanent=True)


def _bytes_below(folder: Path) -> int:
    """Bytes in the files of a folder that another process writes to, without links."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:  # renamed in between
                continue
            total += 0 if stat.S_ISLNK(status.st_mode) else status.st_size
    return total


def _read_outcome(outcome: bytes, staging: Path) -> Path:
    try:
        answer = json.loads(outcome)
    except ValueError:
        lines = (staging / "stderr").read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "without a message"
        raise AttemptFailedError(f"the download process ended: {last}") from None
    if "error" in answer:
        raise AttemptFailedError(answer["error"], permanent=answer["permanent"])
    return Path(answer["path"])


def extract_member(archive: Path, member: str, asset: Asset, target: Path) -> None:
    """Copy one member of a zip archive, by its exact name, to ``target`` and nowhere else.

    Raises:
        AttemptFailedError: not a zip archive, or the member is missing, too large or damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            size_bytes = opened.getinfo(member).file_size  # unpacking stops there
            if size_bytes > (asset.size_bytes or asset.largest_bytes):
                raise AttemptFailedError(
                    f"its member {member} is larger than it should be", permanent=True
                )
            with opened.open(member) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    except KeyError:
        raise AttemptFailedError(f"the archive has no member {member!r}", permanent=True) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise AttemptFailedError(f"not a valid zip archive: {error}") from None
