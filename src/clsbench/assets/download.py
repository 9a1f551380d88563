"""Download assets: try sources in order, in several rounds; verify before moving into place."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from clsbench.assets.attempt import (
    AttemptFailedError,
    Bounds,
    Clock,
    StallTimeout,
    extract_member,
    source_url,
    transfer,
)
from clsbench.assets.places import (
    CACHE,
    HUB_CACHE,
    Located,
    WrongContentError,
    cache_folder,
    check,
    content_name,
    hub_cache_folder,
    note_hash,
    path_below,
)
from clsbench.components.values import Asset, HubFile, WebFile
from clsbench.system.unfinished import temporary_folder

AT_ONCE = 8
PARTIAL_PREFIX = ".clsbench-partial-"
LONGEST_PAUSE_SECONDS = 5.0
SLACK_BYTES = 1 << 20
"""Allowance for other files during a download, such as a cache's metadata."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits of downloads; the total time is not limited while data arrives.

    ``stall_seconds``: limit without new data from a source. ``silence_seconds``: limit without new
    data from any source; also limits the sum of the stalls of one file. ``rounds``: how often each
    source is tried; the pause between rounds is ``backoff_seconds`` at first, then doubles.
    """

    stall_seconds: float = 8.0
    silence_seconds: float = 25.0
    rounds: int = 3
    backoff_seconds: float = 0.5


class DownloadProgress(Protocol):
    """Observes downloads; called from several threads. ``key`` is the asset's."""

    def started(self, key: str, url: str) -> None:
        """A download from ``url`` starts."""
        ...

    def received(self, key: str, received_bytes: int, total_bytes: int | None) -> None:
        """Progress of the download; ``total_bytes`` is ``None`` if unknown."""
        ...

    def finished(self, key: str, succeeded: bool) -> None:
        """The download of this asset has ended."""
        ...


class Failed(NamedTuple):
    """An asset that no source provided; ``tried`` lists each source with the reason."""

    tried: tuple[str, ...]


class Home(NamedTuple):
    """The destination of a download: a folder with assets by key, or the hub's cache."""

    root: Path
    place: str
    is_hub_cache: bool


class _Request(NamedTuple):
    """State shared by all downloads of one call."""

    home: Home | None
    progress: DownloadProgress | None
    limits: Limits
    timeout: StallTimeout
    stopped: threading.Event


def download(
    assets: Sequence[Asset],
    *,
    home: Home | None,
    progress: DownloadProgress | None,
    limits: Limits,
    clock: Clock = time.monotonic,
) -> dict[str, Located | Failed]:
    """Download all assets concurrently, into ``home`` or else into their caches.

    Only complete, verified files are moved to their destination, atomically.
    """
    request = _Request(
        home, progress, limits, StallTimeout(limits.silence_seconds, clock), threading.Event()
    )
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        futures = {asset.key: pool.submit(_download_one, asset, request) for asset in assets}
        try:
            return {key: future.result() for key, future in futures.items()}
        except BaseException:
            request.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download_one(asset: Asset, request: _Request) -> Located | Failed:
    """Try the sources in order, round after round, until one succeeds or all have failed."""
    progress = request.progress
    left_seconds = request.limits.silence_seconds
    reasons: dict[WebFile | HubFile, list[str]] = {source: [] for source in asset.sources}
    remaining = list(asset.sources)
    located: Located | None = None
    for source in _attempts(remaining, request):
        if left_seconds <= 0 or request.timeout.is_over or request.stopped.is_set():
            break
        if progress is not None:
            progress.started(asset.key, source_url(source))
        try:
            located = _ask(source, asset, request, left_seconds)
            break
        except AttemptFailedError as error:
            reasons[source].append(str(error))
            left_seconds -= error.idle_seconds
            if error.permanent:
                remaining.remove(source)
    if progress is not None:
        progress.finished(asset.key, located is not None)
    return located or Failed(
        tuple(f"{source_url(source)}: {_summary(met)}" for source, met in reasons.items())
    )


def _attempts(
    remaining: Sequence[WebFile | HubFile], request: _Request
) -> Iterator[WebFile | HubFile]:
    """The sources in order, round after round; the caller may shorten ``remaining``."""
    pause_seconds = request.limits.backoff_seconds
    for turn in range(request.limits.rounds):
        if turn and remaining:
            request.stopped.wait(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        yield from tuple(remaining)


def _ask(
    source: WebFile | HubFile, asset: Asset, request: _Request, left_seconds: float
) -> Located:
    """Download from one source, verify, and move the file into place.

    Raises:
        AttemptFailedError: any of these failed.
    """
    total_bytes = None if _is_archive(source) else asset.size_bytes

    def received(size_bytes: int) -> None:
        if request.progress is not None:
            size_bytes = min(size_bytes, total_bytes or size_bytes)
            request.progress.received(asset.key, size_bytes, total_bytes)

    home = request.home or _cache_of(source)
    bounds = Bounds(
        limit_bytes=(total_bytes or asset.largest_bytes) + SLACK_BYTES,
        stall_seconds=min(request.limits.stall_seconds, left_seconds),
        timeout=request.timeout,
        stopped=request.stopped,
        received=received,
    )
    try:
        with staging_in(home.root) as staging:
            fetched = transfer(source, staging, bounds)
            located = _verify_and_place(fetched, source, asset, home, staging)
    except OSError as error:
        raise AttemptFailedError(f"it cannot be stored: {error}", permanent=True) from None
    request.timeout.restart()
    return located


def _summary(reasons: Sequence[str]) -> str:
    if not reasons:
        return "not tried, since no source responded any more"
    kinds = list(dict.fromkeys(reasons))
    times = f" (tried {len(reasons)} times)" if len(reasons) > 1 else ""
    return "; then ".join(kinds) + times


def _is_archive(source: WebFile | HubFile) -> bool:
    return isinstance(source, WebFile) and source.member is not None


def _cache_of(source: WebFile | HubFile) -> Home:
    """The hub's cache, shared with other tools, for hub files if it is writable; else our own."""
    if isinstance(source, HubFile) and _can_write(hub_cache_folder()):
        return Home(hub_cache_folder(), HUB_CACHE, is_hub_cache=True)
    return Home(cache_folder(), CACHE, is_hub_cache=False)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@contextlib.contextmanager
def staging_in(root: Path) -> Iterator[Path]:
    """A private temporary folder on the file system of ``root``.

    Raises:
        OSError: ``root`` cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    with temporary_folder(root, PARTIAL_PREFIX) as staging:
        yield staging


def _verify_and_place(
    fetched: Path, source: WebFile | HubFile, asset: Asset, home: Home, staging: Path
) -> Located:
    if isinstance(source, WebFile) and source.member is not None:
        member = staging / "member"
        extract_member(fetched, source.member, asset, member)
        fetched = member
    published = content_name(fetched) if isinstance(source, HubFile) else None
    try:
        sha256 = check(fetched, asset, published)
    except WrongContentError as error:
        # A short file is usually a broken connection; wrong content would repeat.
        short = asset.size_bytes is not None and fetched.stat().st_size < asset.size_bytes
        raise AttemptFailedError(f"wrong content: {error}", permanent=not short) from None
    if home.is_hub_cache:
        return Located(_merge_hub_cache(fetched, staging / "files", home.root), sha256, home.place)
    path = path_below(home.root, asset.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    if asset.sha256 is None:
        note_hash(path, sha256, staging)
    os.replace(fetched.resolve(), path)
    return Located(path, sha256, home.place)


def _merge_hub_cache(fetched: Path, staged: Path, root: Path) -> Path:
    """Move a verified hub cache of one file into the user's; links are relative and stay valid."""
    for part in ("blobs", "refs", "snapshots"):  # targets of links first
        for entry in sorted(staged.glob(f"*--*/{part}/**/*")):
            if entry.is_symlink() or entry.is_file():
                target = root / entry.relative_to(staged)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(entry, target)
    return root / fetched.relative_to(staged)
