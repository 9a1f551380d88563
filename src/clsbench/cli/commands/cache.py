"""``clsbench cache``: the activations of frozen prefixes that earlier runs kept."""

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

if TYPE_CHECKING:
    from pathlib import Path

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
"""The columns that tell entries apart, and the keys of ``about`` that fill them."""


@click.group("cache")
def cache() -> None:
    """List or clear activations that earlier runs have cached.

    Stages that a run leaves frozen give the same activations for the same text, every time. They
    are computed once, kept in the user's cache folder and used again by every run with the same
    weights, cut and texts; what such a run gives does not change. The least recently used go by
    themselves when the limit of a run (--cache-disk) is reached; clear the rest whenever the room
    is wanted, it is computed again. The environment variable CLSBENCH_CACHE names another folder.

    Only your own entries are used. Each is checked against its hash when it is read; a file or
    folder that another user owns (other than the superuser) or can write to is ignored, with one
    warning per run. Files are created readable by you alone, so users who share a cache folder do
    not share entries. On Windows, ownership is not checked.

    \b
    clsbench cache list                   what is kept, how large, last used when
    clsbench cache clear                  everything
    clsbench cache clear 3f9c2a           one entry, by how its digest begins
    clsbench cache clear --older-than 30  what no run has used for 30 days
    """


@cache.command("list", cls=JsonCommand)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, sizes in bytes.")
def list_cache(as_json: bool) -> None:
    """What is kept, the entry used last first.

    An entry holds a row of activations for each distinct text, after the last frozen stage (the
    cut), at all positions of the text or only at the one that the pooling reads; of texts padded
    to one length or without their padding; in one precision.

    \b
    clsbench cache list --json | jq '.entries[] | {digest, size_bytes, about}'
    """
    from clsbench.fastpath.cache.cache_files import activations_folder, list_entries
    from clsbench.schema.options import default_options, size_bytes

    folder = activations_folder()
    entries = list_entries(folder)
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
            }
        )
    elif not entries:
        write_message(
            f"nothing is kept in {folder} yet: runs that leave the first stages of their backbone "
            "frozen keep those stages' activations there",
            err=True,
        )
    else:
        _print_entries(entries, folder, limit_bytes)


def _complete_digest(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from clsbench.errors import ClsbenchError
    from clsbench.fastpath.cache.cache_files import activations_folder, list_entries

    try:
        entries = list_entries(activations_folder())
    except ClsbenchError:
        return []
    return [
        CompletionItem(entry.digest[:_SHORT_DIGEST], help=entry.about.get("backbone", ""))
        for entry in entries
        if entry.digest.startswith(incomplete)
    ]


@cache.command("clear", cls=JsonCommand)
@click.argument(
    "digests",
    metavar="[DIGEST]...",
    nargs=-1,
    shell_complete=_complete_digest,
    help="The beginning of an entry's digest, as list shows it; without one, every entry.",
)
@click.option(
    "--older-than",
    "older_than_days",
    type=FiniteRange(min=0),
    metavar="DAYS",
    help="Only what no run has used for so many days.",
)
@json_option
def clear_cache(digests: tuple[str, ...], older_than_days: float | None, as_json: bool) -> None:
    """Remove what is kept: everything, or some of it. Nothing is asked.

    Runs that are under way go on; they and later ones compute what they miss.

    \b
    clsbench cache clear
    clsbench cache clear 3f9c2a 77b0
    clsbench cache clear --older-than 30
    """
    from clsbench.fastpath.cache.cache_files import activations_folder, clear
    from clsbench.report.wording import bytes_text

    folder = activations_folder()
    cleared = clear(folder, digests, older_than_days)
    if as_json:
        write_json({"folder": str(folder), **cleared._asdict()})
    elif cleared.entries or cleared.freed_bytes:
        write_message(
            f"freed {bytes_text(cleared.freed_bytes)}: {_count(cleared.entries)} in {folder}"
        )
    else:
        older = "" if older_than_days is None else f" that was unused for {older_than_days:g} days"
        write_message(f"nothing to clear in {folder}{older}", err=True)


# --- showing -------------------------------------------------------------------------------------


def _print_entries(entries: Sequence[Entry], folder: Path, limit_bytes: int) -> None:
    """Folded to fit a terminal, in a pipe one line an entry."""
    from rich import box
    from rich.table import Table

    from clsbench.report.terminal.console import Console
    from clsbench.report.wording import bytes_text, plain

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
            bytes_text(entry.size_bytes),
            f"{entry.last_used.astimezone():%Y-%m-%d %H:%M}",
        )
    console = Console(width=None if sys.stdout.isatty() else _UNFOLDED)
    console.print(table, highlight=False, crop=False)
    size = bytes_text(sum(entry.size_bytes for entry in entries))
    limit = bytes_text(limit_bytes)
    console.prose(
        f"{_count(len(entries))}, {size} (a run keeps at most {limit}, or what its "
        f"--cache-disk says), in {folder}"
    )


def _count(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{entries:,} entries"
