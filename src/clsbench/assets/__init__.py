"""Assets: find the published files that a run needs, download them, verify every one.

This package is independent of components; a :class:`clsbench.Asset` describes a file completely.
"""

from __future__ import annotations

from clsbench.assets.attempt import source_url
from clsbench.assets.download import DownloadProgress, Limits
from clsbench.assets.folders import FileState, fetch_folder, find
from clsbench.assets.obtaining import Missing, Obtained, obtain
from clsbench.assets.places import Located, cache_folder, locate

__all__ = [
    "DownloadProgress",
    "FileState",
    "Limits",
    "Located",
    "Missing",
    "Obtained",
    "cache_folder",
    "fetch_folder",
    "find",
    "locate",
    "obtain",
    "source_url",
]
