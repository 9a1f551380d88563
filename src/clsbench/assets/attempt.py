"""One attempt to fetch one file from one source, in a monitored child process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from clsbench.components.values import Asset, HubFile, WebFile

Clock = Callable[[], float]
POLL_SECONDS = 0.05


class AttemptFailedError(Exception):
    """The reason why a download attempt failed."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        """``permanent`` means that retrying the same source is pointless."""
        super().__init__(reason)
        self.permanent = permanent


class StallTimeout:
    """Time limit without new data from any source, shared by all downloads of one request."""

    def __init__(self, limit_seconds: float, clock: Clock = time.monotonic) -> None:
        """Start the clock."""
        self.limit_seconds = limit_seconds
        self.clock = clock
        self._last_data = clock()

    def data_arrived(self) -> None:
        """Restart the clock."""
        self._last_data = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether the limit is exceeded."""
        return self.clock() - self._last_data > self.limit_seconds


class RetryBudget:
    """The remaining time to wait for one file. Idle time adds up over failed attempts.

    Otherwise a source that repeatedly sends the same partial file would never time out.
    """

    def __init__(self, timeout: StallTimeout) -> None:
        """The limit for one file is that for all files together."""
        self._timeout = timeout
        self.clock = timeout.clock
        self._spent_seconds = 0.0
        self._last_data = self.clock()

    def attempt_started(self) -> None:
        """Record the start of an attempt."""
        self._last_data = self.clock()

    def data_arrived(self) -> None:
        """Record that the file has grown."""
        self._last_data = self.clock()
        self._timeout.data_arrived()

    def attempt_failed(self) -> None:
        """Record a failed attempt; its idle time at the end is spent."""
        self._spent_seconds += self.clock() - self._last_data
        self._last_data = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        idle_seconds = self._spent_seconds + self.clock() - self._last_data
        return idle_seconds > self._timeout.limit_seconds or self._timeout.is_over


def source_url(source: WebFile | HubFile) -> str:
    """The URL of a source for a browser."""
    if isinstance(source, WebFile):
        return source.url
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return f"{endpoint}/{source.repository}/resolve/{source.revision}/{source.filename}"


def transfer(
    source: WebFile | HubFile,
    staging: Path,
    *,
    limit_bytes: int,
    startup_seconds: float,
    stall_seconds: float,
    budget: RetryBudget,
    stopped: threading.Event,
    received: Callable[[int], None],
) -> Path:
    """Fetch the file of ``source`` into the empty folder ``staging``, without verifying it.

    The download counts as stalled if the size on disk has not exceeded its maximum for
    ``stall_seconds``, so a server that repeatedly sends the same partial file stalls too.

    Raises:
        AttemptFailedError: no response, an invalid response, or ``stopped``.
    """
    folder, ready = staging / "files", staging / "ready"
    folder.mkdir()
    order = {
        **msgspec.to_builtins(source),
        "folder": str(folder),
        "ready": str(ready),
        "connect_seconds": stall_seconds / 3,
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
        _watch(
            process,
            folder,
            ready,
            limit_bytes,
            startup_seconds,
            stall_seconds,
            budget,
            stopped,
            received,
        )
        outcome = process.stdout.read()
    except BrokenPipeError:
        outcome = b""
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return _read_outcome(outcome, staging)


def _watch(
    process: subprocess.Popen[bytes],
    folder: Path,
    ready: Path,
    limit_bytes: int,
    startup_seconds: float,
    stall_seconds: float,
    budget: RetryBudget,
    stopped: threading.Event,
    received: Callable[[int], None],
) -> None:
    largest_bytes = 0
    last_data, allowed_seconds = budget.clock(), startup_seconds
    started = False
    while process.poll() is None:
        now = budget.clock()
        if not started and ready.exists():
            started, last_data, allowed_seconds = True, now, stall_seconds
        size_bytes = _bytes_below(folder)
        if size_bytes > largest_bytes:
            largest_bytes, last_data = size_bytes, now
            budget.data_arrived()
            received(size_bytes)
        if size_bytes > limit_bytes:
            raise AttemptFailedError(
                f"it sends more than the allowed {limit_bytes:,} bytes", permanent=True
            )
        waited_seconds = now - last_data
        if waited_seconds > allowed_seconds or budget.is_over:
            waited = f"{min(waited_seconds, allowed_seconds):.2g} s"
            if largest_bytes:
                raise AttemptFailedError(
                    f"it stalled after {largest_bytes:,} bytes: no new data for {waited}"
                )
            raise AttemptFailedError(f"no answer within {waited}")
        if stopped.wait(POLL_SECONDS):
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
        AttemptFailedError: not a zip archive, or the member is missing or cannot be unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            size_bytes = opened.getinfo(member).file_size
            if asset.size_bytes is not None and size_bytes != asset.size_bytes:
                raise AttemptFailedError(
                    f"its member {member} has {size_bytes:,} bytes, expected {asset.size_bytes:,}",
                    permanent=True,
                )
            left_bytes = size_bytes if asset.size_bytes is not None else asset.largest_bytes
            with opened.open(member) as packed, target.open("wb") as unpacked:
                while chunk := packed.read(1 << 20):
                    left_bytes -= len(chunk)
                    if left_bytes < 0:
                        raise AttemptFailedError(
                            f"its member {member} is larger than it should be", permanent=True
                        )
                    unpacked.write(chunk)
    except KeyError:
        raise AttemptFailedError(f"the archive has no member {member!r}", permanent=True) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise AttemptFailedError(f"not a valid zip archive: {error}") from None
