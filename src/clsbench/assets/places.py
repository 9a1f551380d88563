"""Find assets on this machine and verify them."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clsbench.components.values import Asset, HubFile, WebFile
from clsbench.errors import AssetError, PluginError

log = logging.getLogger(__name__)

ASSETS_FOLDER = "assets folder"
CACHE = "cache"
HUB_CACHE = "Hugging Face cache"
TIKTOKEN_CACHE = "tiktoken cache"
NO_FOLDER = "no assets folder was given"
TIKTOKEN_ORIGIN = "https://openaipublic.blob.core.windows.net/"


class Located(NamedTuple):
    """A verified file on this machine; ``place`` describes where it is."""

    path: Path
    sha256: str
    place: str


class WrongContentError(Exception):
    """A file has the wrong size or content; the text describes the difference."""


class Candidate(NamedTuple):
    """A file that may be the asset; ``sha256`` is its known hash, if any."""

    place: str
    path: Path
    sha256: str | None


def cache_folder() -> Path:
    """The folder of clsbench's caches: ``CLSBENCH_CACHE``, else one in the user's cache folder."""
    if named := os.environ.get("CLSBENCH_CACHE"):
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("clsbench", appauthor=False)


def hub_cache_folder() -> Path:
    """The user's own Hugging Face cache (``HF_HUB_CACHE``, ``HF_HOME``)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def locate(asset: Asset, folder: Path | None) -> Located | None:
    """Find the asset on this machine and verify it, without network access.

    Searches the assets folder, our cache, and the caches of Hugging Face and tiktoken. A wrong
    file in a cache is ignored with a warning.

    Raises:
        AssetError: the file in the assets folder has the wrong content or cannot be read.
    """
    return look(asset, folder)[0]


def look(
    asset: Asset, folder: Path | None, *, caches: bool = True
) -> tuple[Located | None, tuple[str, ...]]:
    """Like :func:`locate`; also returns why each other place was not used."""
    notes = [] if folder else [NO_FOLDER]
    for place, path, known in _candidates(asset, folder, caches):
        if not os.path.lexists(path):
            notes.append(f"not in the {place} ({path})")
            continue
        try:
            return Located(path, check(path, asset, known), place), tuple(notes)
        except (WrongContentError, OSError) as error:
            if place == ASSETS_FOLDER:
                raise AssetError(
                    f"{path} in the assets folder is not the required {asset.key}: {error}; "
                    f"replace it, or run: clsbench assets fetch {folder}"
                ) from None
            log.warning("ignored %s in the %s: %s", path, place, error)
            notes.append(f"ignored in the {place}: {path}: {error}")
    return None, tuple(notes)


def check(path: Path, asset: Asset, known_sha256: str | None = None) -> str:
    """The SHA-256 of a file that has the asset's size and content.

    ``known_sha256`` is used if the asset has no hash.

    Raises:
        WrongContentError: the size or the hash differs.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        raise WrongContentError("it is a folder")
    size_bytes = path.stat().st_size
    if asset.size_bytes is not None and size_bytes != asset.size_bytes:
        raise WrongContentError(f"it has {size_bytes:,} bytes, expected {asset.size_bytes:,}")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    expected = asset.sha256 or known_sha256
    if expected is not None and sha256 != expected.lower():
        raise WrongContentError(f"its SHA-256 is {sha256}, expected {expected}")
    return sha256


def path_below(folder: Path, key: str) -> Path:
    """The path of an asset in a folder with assets by key.

    Raises:
        PluginError: the key points outside the folder.
    """
    parts = PurePosixPath(key).parts
    if not parts or ".." in parts or key.startswith("/") or "\\" in key or ":" in key:
        raise PluginError(f"the asset key {key!r} is not a relative path with forward slashes")
    return folder.joinpath(*parts)


def note_hash(path: Path, sha256: str, staging: Path) -> None:
    """Store the hash of a file whose asset has none, in the format of ``sha256sum -c``."""
    note = staging / "note"
    note.write_text(f"{sha256}  {path.name}\n", encoding="ascii")
    os.replace(note, _note_of(path))


def content_name(path: Path) -> str | None:
    """The SHA-256 that the hub published for a file in its cache, if any.

    The cache names large files by the hash of their content.
    """
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


def _candidates(asset: Asset, folder: Path | None, caches: bool) -> Iterator[Candidate]:
    if folder is not None:
        path = path_below(folder, asset.key)
        yield Candidate(ASSETS_FOLDER, path, _noted_hash(path))
    if not caches:
        return
    path = path_below(cache_folder(), asset.key)
    yield Candidate(CACHE, path, _noted_hash(path))
    for source in asset.sources:
        if isinstance(source, HubFile):
            found = _in_hub_cache(source)
            yield Candidate(HUB_CACHE, found, content_name(found))
        elif source.url.startswith(TIKTOKEN_ORIGIN) and (kept := _tiktoken_cache_folder()):
            yield Candidate(TIKTOKEN_CACHE, kept / _tiktoken_name(source), None)


def _noted_hash(path: Path) -> str | None:
    try:
        return _note_of(path).read_text(encoding="ascii").split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        return None


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _in_hub_cache(source: HubFile) -> Path:
    """The path of the file in the Hugging Face cache, whether it exists or not."""
    root = hub_cache_folder()
    repository = root / f"{source.kind}s--{source.repository.replace('/', '--')}"
    if repository.is_dir():
        from huggingface_hub import try_to_load_from_cache  # slow to import

        found = try_to_load_from_cache(
            source.repository,
            source.filename,
            cache_dir=root,
            revision=source.revision,
            repo_type=source.kind,
        )
        if isinstance(found, str):
            return Path(found)
    return repository / "snapshots" / source.revision / source.filename


def _tiktoken_cache_folder() -> Path | None:
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:  # an empty value disables that cache
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _tiktoken_name(source: WebFile) -> str:
    return hashlib.sha1(source.url.encode(), usedforsecurity=False).hexdigest()
