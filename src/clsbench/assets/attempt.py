"""One attempt to fetch one file from one source, in a child process that is watched."""

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
    """Why a source did not serve."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        """``permanent`` says that asking the same source again is pointless."""
        super().__init__(reason)
        self.permanent = permanent


class Silence:
    """How long nothing has arrived from anywhere. Shared by all downloads of one request."""

    def __init__(self, limit_seconds: float, clock: Clock = time.monotonic) -> None:
        """Begins now; ``limit_seconds`` is how long is too long."""
        self.limit_seconds = limit_seconds
        self.clock = clock
        self._last_news = clock()

    def news(self) -> None:
        """Something arrived."""
        self._last_news = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether it has lasted too long."""
        return self.clock() - self._last_news > self.limit_seconds


class Patience:
    """What is left of the time to wait for one file: silence adds up over failed attempts.

    Or else a source that sends the same half each time it is asked would make news for ever.
    """

    def __init__(self, silence: Silence) -> None:
        """A file may be silent for as long as all of them together."""
        self._silence = silence
        self.clock = silence.clock
        self._spent_seconds = 0.0
        self._last_news = self.clock()

    def attempt_begins(self) -> None:
        """A source is asked."""
        self._last_news = self.clock()

    def news(self) -> None:
        """More of the file arrived."""
        self._last_news = self.clock()
        self._silence.news()

    def attempt_failed(self) -> None:
        """The attempt came to nothing; its silence at the end was waste."""
        self._spent_seconds += self.clock() - self._last_news
        self._last_news = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether waiting any longer is pointless."""
        silent_seconds = self._spent_seconds + self.clock() - self._last_news
        return silent_seconds > self._silence.limit_seconds or self._silence.is_over


def source_url(source: WebFile | HubFile) -> str:
    """The address of a source as a browser would take it."""
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
    patience: Patience,
    stopped: threading.Event,
    received: Callable[[int], None],
) -> Path:
    """Fetch what ``source`` holds into the empty folder ``staging``; nothing is verified yet.

    It counts as stalled when what lies on the disk has not grown beyond its largest size for
    ``stall_seconds``, so a server that sends the same half again and again stalls too.

    Raises:
        AttemptFailedError: no answer, an answer that is none, or ``stopped``.
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
        # Xet retries in its own way, out of sight; whoever wants it sets this to 0.
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
            patience,
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
    patience: Patience,
    stopped: threading.Event,
    received: Callable[[int], None],
) -> None:
    largest_bytes = 0
    last_news, patience_seconds = patience.clock(), startup_seconds
    started = False
    while process.poll() is None:
        now = patience.clock()
        if not started and ready.exists():
            started, last_news, patience_seconds = True, now, stall_seconds
        size_bytes = _bytes_below(folder)
        if size_bytes > largest_bytes:
            largest_bytes, last_news = size_bytes, now
            patience.news()
            received(size_bytes)
        if size_bytes > limit_bytes:
            raise AttemptFailedError(
                f"it sends far more than it should, over {limit_bytes:,} bytes", permanent=True
            )
        waited_seconds = now - last_news
        if waited_seconds > patience_seconds or patience.is_over:
            waited = f"{min(waited_seconds, patience_seconds):.2g} s"
            if largest_bytes:
                raise AttemptFailedError(
                    f"it stalled after {largest_bytes:,} bytes: nothing new for {waited}"
                )
            raise AttemptFailedError(f"no answer within {waited}")
        if stopped.wait(POLL_SECONDS):
            raise AttemptFailedError("interrupted", permanent=True)


def _bytes_below(folder: Path) -> int:
    """Bytes in the files of a folder that somebody else is writing to. Links do not count."""
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
        last = lines[-1] if lines else "without a word"
        raise AttemptFailedError(f"the download process ended: {last}") from None
    if "error" in answer:
        raise AttemptFailedError(answer["error"], permanent=answer["permanent"])
    return Path(answer["path"])


def extract_member(archive: Path, member: str, asset: Asset, target: Path) -> None:
    """Copy one member of a zip archive, by its exact name, to ``target`` and nowhere else.

    Raises:
        AttemptFailedError: no zip archive, no such member, or one that cannot be unpacked.
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
        raise AttemptFailedError(f"no sound zip archive: {error}") from None
