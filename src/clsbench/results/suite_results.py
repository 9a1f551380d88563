"""What became of a suite: a file in the store that names the runs of each row."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import msgspec

from clsbench.errors import UsageError
from clsbench.schema.decoding import DecodingError, decode_json, read_bytes
from clsbench.schema.record import Estimate
from clsbench.schema.suite import PublishedRow
from clsbench.system.filesystem import OF_ALL_USERS, replace_text, storing_error

logger = logging.getLogger(__name__)

SUITES = "suites"
"""The folder in the store that holds a file for each suite, by its name."""

SCHEMA_VERSION = 1

_ONE_WAY = ("base", "for_all", "seeds", "where")
"""What is the same wherever a suite is run in one way."""


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A row: how it differs from the base, and the runs that it has, one a seed.

    ``runs`` are names of directories in the store, ``stored`` those of them that were there before;
    ``not_applicable`` says why the row means nothing here, ``errors`` what kept runs from being
    finished, ``waiting`` counts those that have not ended. ``modified``: the user's changes or a
    stand-in make it another experiment than the suite means. ``same_as`` is the label of an earlier
    row that comes to the same experiment, whose runs it shares. ``estimate`` is how long one of its
    runs was thought to take.
    """

    label: str
    title: str
    changes: dict[str, Any]
    published: PublishedRow | None
    modified: bool = False
    same_as: str | None = None
    estimate: Estimate | None = None
    not_applicable: str | None = None
    runs: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    waiting: int = 0


class SuiteResults(msgspec.Struct, frozen=True, kw_only=True):
    """A suite: what was chosen, and its rows.

    ``for_all`` is what the user changed for every row, ``where`` the options that its figures
    depend on, ``labels`` are those of all rows that there are to choose from; ``command`` is the
    last that ran any of them, without the choice of rows.
    """

    @property
    def origin(self) -> str:
        """Where published figures come from, in words."""
        conditions = f" ({self.conditions})" if self.conditions else ""
        return f"{self.source or 'as registered'}{conditions}"

    schema_version: int = SCHEMA_VERSION
    name: str
    description: str
    base: str
    for_all: dict[str, Any]
    seeds: tuple[int, ...] | int
    where: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    source: str
    conditions: str
    command: tuple[str, ...]
    created: str
    rows: tuple[RowResult, ...]


def write_suite_results(
    store: Path,
    results: SuiteResults,
    all_rows: Mapping[str, Mapping[str, Any]] | None = None,
    anew: Mapping[str, str | None] | None = None,
) -> Path:
    """Write the file of a suite in one go, over the one of its last time.

    Rows that were run then, and not chosen now, stay where the suite was run in the same way;
    ``all_rows`` is what every row of it changes, by label, and ``anew`` says which runs were done
    again, and as which: rows that share them have the new ones.

    Raises:
        ClsbenchError: the disk is full, or the store cannot be written.
    """
    folder = store / SUITES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{results.name}.json"
        # Two invocations may do different rows of it.
        with filelock.FileLock(folder / f".{results.name}.lock", mode=OF_ALL_USERS):
            together = _with_earlier_rows(store, results, all_rows or {}, anew or {})
            content = msgspec.json.format(msgspec.json.encode(together), indent=2)
            replace_text(target, content.decode() + "\n")
    except OSError as error:
        raise storing_error(error, store) from error
    return target


def _with_earlier_rows(
    store: Path,
    results: SuiteResults,
    all_rows: Mapping[str, Mapping[str, Any]],
    anew: Mapping[str, str | None],
) -> SuiteResults:
    try:
        before = read_suite_results(store, results.name)
    except UsageError:
        return results
    if any(getattr(before, name) != getattr(results, name) for name in _ONE_WAY):
        return results
    chosen = {row.label: row for row in results.rows}
    changes = msgspec.to_builtins(all_rows)
    kept = {
        row.label: msgspec.structs.replace(
            row,
            runs=tuple(anew.get(run) or run for run in row.runs),
            stored=tuple(run for run in row.stored if run not in anew),
        )
        for row in before.rows
        if changes.get(row.label) == row.changes
    }
    rows: list[RowResult] = []
    for label in all_rows:
        row = chosen.get(label) or kept.get(label)
        if row is not None:
            twin = next((each.label for each in rows if each.runs and each.runs == row.runs), None)
            rows.append(msgspec.structs.replace(row, same_as=twin) if row.runs else row)
    return msgspec.structs.replace(results, rows=tuple(rows))


def read_suite_results(store: Path, name: str) -> SuiteResults:
    """The suite ``name`` as it was run last into ``store``.

    Raises:
        UsageError: it never was, or the file is damaged or of another version.
    """
    file = store / SUITES / f"{name}.json"
    try:
        content = read_bytes(file)
        header = decode_json(content)
    except FileNotFoundError:
        close = difflib.get_close_matches(name, suites_of(store), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no suite {name!r} was run into {store}{hint}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except DecodingError as error:
        raise UsageError(f"{file} is damaged: {error}") from None
    version = header.get("schema_version") if isinstance(header, dict) else None
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{file} has schema_version {version}, this clsbench reads {SCHEMA_VERSION}"
        )
    try:
        return decode_json(content, SuiteResults)
    except DecodingError as error:
        raise UsageError(f"{file} is damaged: {error}") from None


def latest_suite(store: Path) -> SuiteResults | None:
    """The suite that was run last into ``store``; ``None`` where none was that can be read."""
    found = []
    for name in suites_of(store):
        try:
            found.append(read_suite_results(store, name))
        except UsageError as error:
            logger.warning("left out a suite: %s", error)
    return max(found, key=lambda results: results.created, default=None)


def suites_of(store: Path) -> list[str]:
    """The names of the suites that were run into ``store``."""
    return sorted(file.stem for file in (store / SUITES).glob("*.json"))
