"""The files that a run needs, found on this machine or downloaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clsbench.assets.attempt import Clock
from clsbench.assets.download import DownloadProgress, Failed, Limits, download
from clsbench.assets.places import Located, look
from clsbench.components.values import Asset
from clsbench.errors import AssetError, PluginError, UsageError


class Missing(NamedTuple):
    """A missing asset; ``tried`` lists every place and URL with the reason."""

    asset: Asset
    tried: tuple[str, ...]


class Obtained(NamedTuple):
    """The assets of a run by key, verified; ``sha256`` holds the measured hashes.

    ``missing`` is empty unless the run is offline. ``downloaded`` are the keys of files that were
    downloaded now. ``places`` describes in words where each file is.
    """

    files: dict[str, Path]
    missing: tuple[Missing, ...]
    sha256: dict[str, str]
    downloaded: frozenset[str]
    places: dict[str, str]

    def require(self) -> None:
        """Check that no asset is missing; for components without stand-ins.

        Raises:
            AssetError: an asset is missing, and the run is offline.
        """
        if self.missing:
            raise AssetError(missing_text(self.missing, OFFLINE_REMEDY))


def obtain(
    assets: Sequence[Asset],
    *,
    folder: Path | None,
    offline: bool,
    progress: DownloadProgress | None = None,
    limits: Limits | None = None,
    clock: Clock = time.monotonic,
) -> Obtained:
    """Find each asset on this machine, else download it; ``offline`` disables network access.

    Raises:
        UsageError: ``folder`` is not a folder.
        AssetError: a file in ``folder`` has the wrong content; or, unless ``offline``, an asset
            is unavailable. Without any response that takes ``limits.silence_seconds``.
    """
    require_folder(folder)
    found: dict[str, Located] = {}
    absent: dict[str, tuple[str, ...]] = {}
    wanted = by_key(assets)
    for asset in wanted.values():
        located, notes = look(asset, folder)
        if located is None:
            absent[asset.key] = notes
        else:
            found[asset.key] = located
    downloaded: dict[str, Located] = {}
    missing = tuple(Missing(wanted[key], notes) for key, notes in absent.items())
    if absent and not offline:
        outcomes = download(
            [wanted[key] for key in absent],
            home=None,
            progress=progress,
            limits=limits or Limits(),
            clock=clock,
        )
        missing = tuple(
            Missing(wanted[key], absent[key] + outcome.tried)
            for key, outcome in outcomes.items()
            if isinstance(outcome, Failed)
        )
        if missing:
            raise AssetError(missing_text(missing))
        downloaded = {k: o for k, o in outcomes.items() if isinstance(o, Located)}
    available = found | downloaded
    in_order = {key: available[key] for key in wanted if key in available}
    return Obtained(
        files={key: located.path for key, located in in_order.items()},
        missing=missing,
        sha256={key: located.sha256 for key, located in in_order.items()},
        downloaded=frozenset(downloaded),
        places={key: located.place for key, located in in_order.items()},
    )


def require_folder(folder: Path | None) -> None:
    """Check that the assets folder, if given, exists.

    Raises:
        UsageError: it does not.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(f"the assets folder {folder} does not exist or is not a folder")


def by_key(assets: Sequence[Asset]) -> dict[str, Asset]:
    """The assets by key, each once.

    Raises:
        PluginError: two different assets have the same key.
    """
    unique: dict[str, Asset] = {}
    for asset in assets:
        if unique.setdefault(asset.key, asset) != asset:
            raise PluginError(
                f"two different assets have the key {asset.key!r}; keys must be unique"
            )
    return unique


REMEDY = (
    "What to do: try again later; or, on a machine with a network, run\n"
    "  clsbench assets fetch DIR\n"
    "copy DIR here and use --assets DIR; or use --offline to run with embedded stand-ins."
)

OFFLINE_REMEDY = (
    "What to do: run without --offline; or, on a machine with a network, run\n"
    "  clsbench assets fetch DIR\n"
    "copy DIR here and use --assets DIR."
)


def missing_text(missing: Sequence[Missing], remedy: str = REMEDY) -> str:
    """The message for missing assets: what was tried, and what to do."""
    count = "1 file" if len(missing) == 1 else f"{len(missing)} files"
    lines = [f"{count} could neither be found nor downloaded:"]
    for entry in missing:
        lines += [f"  {entry.asset.key}", *(f"    {reason}" for reason in entry.tried)]
    return "\n".join([*lines, remedy])
