"""Folders in the cache of clsbench, each made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import clsbench


def made(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of this name; ``fill`` writes its files if it does not exist.

    It appears as a whole, so that several processes may make it at the same time.
    """
    folder = clsbench.cache_folder() / "transformers" / name
    unfinished = folder.with_name(f".unfinished-{uuid.uuid4().hex}")
    if folder.is_dir():
        return folder
    try:
        unfinished.mkdir(parents=True)
        fill(unfinished)
        try:
            os.replace(unfinished, folder)
        except OSError:
            if not folder.is_dir():  # another process has just made it
                raise
    except OSError as error:
        raise clsbench.ClsbenchError(
            f"{folder} cannot be written: {error}; free space, or choose another folder with "
            "CLSBENCH_CACHE"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def linked(files: Mapping[str, Path]) -> Path:
    """A folder with links to ``files``, by the names that they have there, and nothing else."""
    targets = {name: os.path.abspath(path) for name, path in sorted(files.items())}

    def link(folder: Path) -> None:
        for name, target in targets.items():
            (folder / name).symlink_to(target)

    return made(f"links/{hashlib.sha256(repr(targets).encode()).hexdigest()}", link)
