"""Fill and check assets folders, which carry assets to machines without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from clsbench.assets.download import DownloadProgress, Failed, Home, Limits, download, staging_in
from clsbench.assets.obtaining import Missing, by_key, missing_text, require_folder
from clsbench.assets.places import (
    ASSETS_FOLDER,
    NO_FOLDER,
    Located,
    WrongContentError,
    check,
    look,
    note_hash,
    path_below,
)
from clsbench.components.values import Asset
from clsbench.errors import AssetError, UsageError

REMEDY = (
    "What to do: run it again (fetched files are kept), or copy the file to its place in the "
    "folder from another source; its hash is checked."
)


class FileState(NamedTuple):
    """The state of one asset; ``detail`` is its place, or why it is missing or wrong."""

    asset: Asset
    state: Literal["found", "missing", "wrong"]
    path: Path | None
    sha256: str | None
    detail: str


def find(
    assets: Sequence[Asset], folder: Path | None, *, caches: bool = True
) -> tuple[FileState, ...]:
    """Find each asset on this machine, in the places that a run searches, and verify it.

    Without ``caches``, only ``folder`` is searched.

    Raises:
        UsageError: ``folder`` is not a folder.
    """
    require_folder(folder)
    return tuple(_find_one(asset, folder, caches) for asset in by_key(assets).values())


def fetch_folder(
    assets: Sequence[Asset],
    folder: Path,
    *,
    progress: DownloadProgress | None = None,
    limits: Limits | None = None,
) -> tuple[FileState, ...]:
    """Fill ``folder`` with each asset: kept if right, else copied from a cache, else downloaded.

    Raises:
        UsageError: the folder cannot be created.
        AssetError: an asset is unavailable; all others are in the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the assets folder {folder} cannot be created: {error.strerror}"
        ) from None
    states: dict[str, FileState] = {}
    tried: dict[str, tuple[str, ...]] = {}
    wanted = by_key(assets)
    for asset in wanted.values():
        state = _find_one(asset, folder, caches=False)
        if state.state == "found":
            states[asset.key] = state._replace(detail="already there")
            continue
        located, notes = look(asset, None)
        tried[asset.key] = tuple(note for note in notes if note != NO_FOLDER)
        if located is not None:
            states[asset.key] = _copy(asset, located, folder)
    outcomes = download(
        [asset for key, asset in wanted.items() if key not in states],
        home=Home(folder, ASSETS_FOLDER, is_hub_cache=False),
        progress=progress,
        limits=limits or Limits(),
    )
    missing = []
    for key, outcome in outcomes.items():
        if isinstance(outcome, Failed):
            missing.append(Missing(wanted[key], tried[key] + outcome.tried))
        else:
            states[key] = FileState(
                wanted[key], "found", outcome.path, outcome.sha256, "downloaded"
            )
    if missing:
        raise AssetError(missing_text(missing, REMEDY))
    return tuple(states[key] for key in wanted)


def _find_one(asset: Asset, folder: Path | None, caches: bool) -> FileState:
    try:
        located, notes = look(asset, folder, caches=caches)
    except AssetError as error:
        assert folder is not None
        return FileState(asset, "wrong", path_below(folder, asset.key), None, str(error))
    if located is None:
        return FileState(asset, "missing", None, None, "; ".join(notes))
    return FileState(asset, "found", located.path, located.sha256, located.place)


def _copy(asset: Asset, located: Located, folder: Path) -> FileState:
    """Copy via a private, verified file, so that a full disk leaves no partial file."""
    path = path_below(folder, asset.key)
    try:
        with staging_in(folder) as staging:
            copy = staging / "copy"
            shutil.copyfile(located.path, copy)
            sha256 = check(copy, asset, located.sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            if asset.sha256 is None:
                note_hash(path, sha256, staging)
            os.replace(copy, path)
    except (OSError, WrongContentError) as error:
        raise AssetError(f"{located.path} cannot be copied to {path}: {error}") from None
    return FileState(asset, "found", path, sha256, f"copied from the {located.place}")
