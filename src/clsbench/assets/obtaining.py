"""Everything a run needs, as paths: found on this machine or downloaded now."""

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
    """An asset that is not at hand; ``tried`` names every place and address with the reason."""

    asset: Asset
    tried: tuple[str, ...]


class Obtained(NamedTuple):
    """The assets of a run, by key. Every content was checked; ``sha256`` is what was measured.

    ``missing`` can hold something only when the network was not to be touched. ``downloaded``
    are the keys that came over the network just now. ``places`` says in words where each lies.
    """

    files: dict[str, Path]
    missing: tuple[Missing, ...]
    sha256: dict[str, str]
    downloaded: frozenset[str]
    places: dict[str, str]

    def require(self) -> None:
        """Make sure that nothing is missing, where no stand-in may take its place.

        Raises:
            AssetError: something is, and the network was not to be touched.
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
    """Find each asset on this machine, else download it; ``offline`` never touches the network.

    Raises:
        UsageError: ``folder`` is no folder.
        AssetError: a file in ``folder`` has the wrong content; or, unless ``offline``, an asset
            cannot be had. When nothing answers that takes ``limits.silence_seconds``.
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
    everything = {key: {**found, **downloaded}.get(key) for key in wanted}
    located_by_key = {key: located for key, located in everything.items() if located}
    return Obtained(
        files={key: located.path for key, located in located_by_key.items()},
        missing=missing,
        sha256={key: located.sha256 for key, located in located_by_key.items()},
        downloaded=frozenset(downloaded),
        places={key: located.place for key, located in located_by_key.items()},
    )


def require_folder(folder: Path | None) -> None:
    """An assets folder that was named must be there.

    Raises:
        UsageError: it is not.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(f"the assets folder {folder} does not exist or is no folder")


def by_key(assets: Sequence[Asset]) -> dict[str, Asset]:
    """The assets by key, each once.

    Raises:
        PluginError: two different assets claim one key.
    """
    unique: dict[str, Asset] = {}
    for asset in assets:
        if unique.setdefault(asset.key, asset) != asset:
            raise PluginError(f"two different assets have the key {asset.key!r}; keys are unique")
    return unique


REMEDY = (
    "What to do: try again later; or, on a machine with a network, run\n"
    "  clsbench assets fetch DIR\n"
    "copy DIR here and give --assets DIR; or give --offline, which uses embedded stand-ins."
)

OFFLINE_REMEDY = (
    "What to do: leave out --offline; or, on a machine with a network, run\n"
    "  clsbench assets fetch DIR\n"
    "copy DIR here and give --assets DIR."
)


def missing_text(missing: Sequence[Missing], remedy: str = REMEDY) -> str:
    """What was tried for each missing asset, and what to do."""
    count = "1 file" if len(missing) == 1 else f"{len(missing)} files"
    lines = [f"{count} could neither be found nor downloaded:"]
    for entry in missing:
        lines += [f"  {entry.asset.key}", *(f"    {reason}" for reason in entry.tried)]
    return "\n".join([*lines, remedy])
