"""Assets: find the published files that a run needs, download them, verify every one.

This package is independent of components; a :class:`clsbench.Asset` describes a file completely.
"""

from __future__ import annotations

from clsbench.assets.attempt import source_url
from clsbench.assets.cached_folders import (
    CachedFolder,
    cached_folder,
    list_cached_folders,
    remove_cached_folders,
)
from clsbench.assets.download import DownloadProgress, Limits
from clsbench.assets.folders import FileState, fetch_folder, find
from clsbench.assets.obtaining import Missing, Obtained, obtain
from clsbench.assets.places import Located, cache_folder, locate

__all__ = [
    "CachedFolder",
    "DownloadProgress",
    "FileState",
    "Limits",
    "Located",
    "Missing",
    "Obtained",
    "cache_folder",
    "cached_folder",
    "fetch_folder",
    "find",
    "list_cached_folders",
    "locate",
    "obtain",
    "remove_cached_folders",
    "source_url",
]
