"""``clsbench cache``: activations and converted files that earlier runs have cached."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click
from click.shell_completion import CompletionItem

from clsbench.cli.json_command import JsonCommand
from clsbench.cli.options import FiniteRange, json_option
from clsbench.cli.output import write_json, write_message
from clsbench.schema.quantities import size_bytes, size_text

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from clsbench.assets import CachedFolder
    from clsbench.fastpath.cache.cache_files import Entry

logger = logging.getLogger(__name__)

_SHORT_DIGEST = 12
_UNFOLDED = 100_000
_COLUMNS = {
    "what": "backbone",
    "cut": "cut",
    "positions": "positions",
    "texts": "texts",
    "precision": "precision",
}
"""The columns that distinguish entries, and the keys of ``about`` that fill them."""


@click.group("cache")
def cache() -> None:
    """List or clear activations and converted files that earlier runs have cached.

    Frozen stages give the same activations for the same text in every epoch and every run. They
    are computed once, stored in the user's cache folder and reused by runs with the same weights,
    cut and texts; results do not change. When a run reaches its limit (--cache-disk), the least
    recently used activations are deleted. Entries can be cleared at any time; later runs make them
    again. The environment variable CLSBENCH_CACHE selects another folder.

    A component that converts files, such as a model in the GGUF format, keeps the result there too.
    --cache-disk does not limit these.

    Only your own activations are used. They are checked against their hash when they are read. A
    file or folder that another user (except the superuser) owns or can write to is ignored, with
    one warning per run. Files are readable by you alone, so users who share a cache folder do not
    share activations. On Windows, ownership is not checked.

    \b
    clsbench cache list                   entries with size and time of last use
    clsbench cache clear                  delete everything
    clsbench cache clear 3f9c2a           delete one entry, by the start of its digest
    clsbench cache clear --older-than 30  delete entries unused for 30 days
    """


@cache.command("list", cls=JsonCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with sizes in bytes.")
def list_cache(as_json: bool) -> None:
    """List cache entries, most recently used first.

    Activations: an entry holds one row for each distinct text, in one precision: after the last
    frozen stage (the cut), at all positions or only at the pooled one, with or without padding.
    Converted files: an entry is a folder, described by the component that made it.

    \b
    clsbench cache list --json | jq '.entries[] | {digest, size_bytes, about}'
    """
    from clsbench.assets import cache_folder, list_cached_folders
    from clsbench.fastpath.cache.cache_files import activations_folder, list_entries
    from clsbench.schema.options import default_options

    folder = cache_folder()
    entries = list_entries(activations_folder())
    converted = list_cached_folders()
    limit_bytes = size_bytes(default_options({}).cache_disk)
    for path in (path for entry in entries for path in entry.damaged):
        logger.warning("%s is damaged: the next run that reads it removes it", path)
    if as_json:
        write_json(
            {
                "folder": str(folder),
                "limit_bytes": limit_bytes,
                "size_bytes": sum(entry.size_bytes for entry in entries),
                "entries": [
                    {**entry._asdict(), "damaged": list(map(str, entry.damaged))}
                    for entry in entries
                ],
                "converted": [each._asdict() for each in converted],
            }
        )
    elif not entries and not converted:
        write_message(
            f"the cache {folder} is empty: runs whose first stages are frozen store the "
            "activations of these stages there",
            err=True,
        )
    if entries and not as_json:
        _print_entries(entries, folder, limit_bytes)
    if converted and not as_json:
        _print_converted(converted, folder)


def _complete_digest(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from clsbench.assets import list_cached_folders
    from clsbench.errors import ClsbenchError
    from clsbench.fastpath.cache.cache_files import activations_folder, list_entries

    try:
        entries = list_entries(activations_folder())
    except ClsbenchError:
        return []
    known = {entry.digest: entry.about.get("backbone", "") for entry in entries}
    known |= {folder.digest: folder.about for folder in list_cached_folders()}
    return [
        CompletionItem(digest[:_SHORT_DIGEST], help=about)
        for digest, about in known.items()
        if digest.startswith(incomplete)
    ]


@cache.command("clear", cls=JsonCommand)
@click.argument(
    "digests",
    metavar="[DIGEST]...",
    nargs=-1,
    shell_complete=_complete_digest,
    help="Start of an entry's digest, as shown by list (default: all entries).",
)
@click.option(
    "--older-than",
    "older_than_days",
    type=FiniteRange(min=0),
    metavar="DAYS",
    help="Delete only entries that no run has used for this many days.",
)
@json_option
def clear_cache(digests: tuple[str, ...], older_than_days: float | None, as_json: bool) -> None:
    """Delete all entries, or some of them. Does not ask for confirmation.

    Running experiments are not affected; they recompute deleted activations and convert files
    again. Only a run that is just loading a converted file may fail.

    \b
    clsbench cache clear
    clsbench cache clear 3f9c2a 77b0
    clsbench cache clear --older-than 30
    """
    from clsbench.assets import cache_folder, list_cached_folders, remove_cached_folders
    from clsbench.fastpath.cache.cache_files import (
        activations_folder,
        clear,
        entry_digests,
        find_digest,
    )

    folder, activations = cache_folder(), activations_folder()
    converted = {each.digest for each in list_cached_folders()}
    others = entry_digests(activations)
    if digests:
        chosen = {find_digest(each, [*others, *converted], folder) for each in digests}
        others, converted = [each for each in others if each in chosen], converted & chosen
    entries = freed_bytes = 0
    if others or not digests:
        entries, freed_bytes = clear(activations, others, older_than_days)
    more, more_bytes = remove_cached_folders(converted, older_than_days)
    entries, freed_bytes = entries + more, freed_bytes + more_bytes
    if as_json:
        write_json({"folder": str(folder), "entries": entries, "freed_bytes": freed_bytes})
    elif entries or freed_bytes:
        write_message(f"freed {size_text(freed_bytes)}: {_count(entries)} in {folder}")
    else:
        older = "" if older_than_days is None else f" that was unused for {older_than_days:g} days"
        write_message(f"nothing to clear in {folder}{older}", err=True)


# --- showing -------------------------------------------------------------------------------------


def _print_entries(entries: Sequence[Entry], folder: Path, limit_bytes: int) -> None:
    """Wrapped on a terminal; one line per entry in a pipe."""
    from rich import box
    from rich.table import Table

    from clsbench.report.terminal.console import Console
    from clsbench.report.wording import plain

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("digest", no_wrap=True, style="cyan")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for name in ("rows", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    for entry in entries:
        table.add_row(
            entry.digest[:_SHORT_DIGEST],
            *(plain(entry.about.get(name, "?")) for name in _COLUMNS.values()),
            f"{entry.rows:,}",
            size_text(entry.size_bytes),
            _time_text(entry.last_used),
        )
    console = Console(width=None if sys.stdout.isatty() else _UNFOLDED)
    console.print(table, highlight=False, crop=False)
    size = size_text(sum(entry.size_bytes for entry in entries))
    limit = size_text(limit_bytes)
    console.prose(
        f"{_count(len(entries))}, {size} (limit: {limit}, or a run's --cache-disk), in {folder}"
    )


def _print_converted(folders: Sequence[CachedFolder], place: Path) -> None:
    from rich import box
    from rich.table import Table

    from clsbench.report.terminal.console import Console
    from clsbench.report.wording import plain

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("digest", no_wrap=True, style="cyan")
    table.add_column("converted files", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    for folder in folders:
        table.add_row(
            folder.digest[:_SHORT_DIGEST],
            plain(folder.about),
            size_text(folder.size_bytes),
            _time_text(folder.last_used),
        )
    console = Console(width=None if sys.stdout.isatty() else _UNFOLDED)
    console.print(table, highlight=False, crop=False)
    size = size_text(sum(folder.size_bytes for folder in folders))
    console.prose(f"{_count(len(folders))}, {size} (no limit), in {place}")


def _time_text(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def _count(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{entries:,} entries"
