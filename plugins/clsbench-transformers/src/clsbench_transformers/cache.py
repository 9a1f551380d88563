"""Folders of links in the cache of clsbench."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import clsbench


def linked(files: Mapping[str, Path], name: str) -> Path:
    """A folder with links to the ``files`` of a model, by the names that they have there."""
    targets = {each: os.path.abspath(path) for each, path in sorted(files.items())}

    def link(folder: Path) -> None:
        for each, target in targets.items():
            (folder / each).symlink_to(target)

    return clsbench.cached_folder(
        f"clsbench-transformers, links: {targets}", f"links to the files of {name}", link
    )
