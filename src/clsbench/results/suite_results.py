"""What became of a suite: a file in the store that names the runs of each row."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import msgspec

from clsbench.errors import UsageError
from clsbench.results.disk import replace_text, storing_error
from clsbench.suite import PublishedRow
from clsbench.values import Estimate

logger = logging.getLogger(__name__)

SUITES = "suites"
"""The folder in the store that holds a file for each suite, by its name."""

SCHEMA_VERSION = 1

_ONE_WAY = ("base", "for_all", "seeds", "where")
"""What is the same wherever a suite is run in one way."""

_OF_ALL_USERS = 0o666
"""The mode of a lock's file: a store may be several people's."""


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
    depend on; ``command`` repeats it all.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    description: str
    base: str
    for_all: dict[str, Any]
    seeds: tuple[int, ...] | int
    where: dict[str, Any] = {}
    source: str
    conditions: str
    command: tuple[str, ...]
    created: str
    rows: tuple[RowResult, ...]


def write_suite_results(
    store: Path, results: SuiteResults, whole: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write the file of a suite in one go, over the one of its last time.

    Rows that were run then, and not chosen now, stay where the suite was run in the same way;
    ``whole`` is what every row of it changes, by label.

    Raises:
        ClsbenchError: the disk is full, or the store cannot be written.
    """
    folder = store / SUITES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{results.name}.json"
        # Two invocations may do different rows of it.
        with filelock.FileLock(folder / f".{results.name}.lock", mode=_OF_ALL_USERS):
            together = _with_earlier_rows(store, results, whole or {})
            content = msgspec.json.format(msgspec.json.encode(together), indent=2)
            replace_text(target, content.decode() + "\n")
    except OSError as error:
        raise storing_error(error, store) from error
    return target


def _with_earlier_rows(
    store: Path, results: SuiteResults, whole: Mapping[str, Mapping[str, Any]]
) -> SuiteResults:
    try:
        before = read_suite_results(store, results.name)
    except UsageError:
        return results
    if any(getattr(before, name) != getattr(results, name) for name in _ONE_WAY):
        return results
    chosen = {row.label: row for row in results.rows}
    changes = msgspec.to_builtins(whole)
    kept = {row.label: row for row in before.rows if changes.get(row.label) == row.changes}
    if not kept.keys() - chosen.keys():
        return results
    rows: list[RowResult] = []
    for label in whole:
        row = chosen.get(label) or kept.get(label)
        if row is not None:
            twin = next((each.label for each in rows if each.runs and each.runs == row.runs), None)
            rows.append(msgspec.structs.replace(row, same_as=twin) if row.runs else row)
    command = list(_without_rows(results.command))
    if len(rows) < len(whole):
        command += ["--rows", ",".join(row.label for row in rows)]
    return msgspec.structs.replace(results, rows=tuple(rows), command=tuple(command))


def _without_rows(command: Sequence[str]) -> Iterator[str]:
    for before, word in zip(("", *command), command, strict=False):
        if before != "--rows" and word != "--rows" and not word.startswith("--rows="):
            yield word


def read_suite_results(store: Path, name: str) -> SuiteResults:
    """The suite ``name`` as it was run last into ``store``.

    Raises:
        UsageError: it never was, or the file is damaged or of another version.
    """
    file = store / SUITES / f"{name}.json"
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        close = difflib.get_close_matches(name, suites_of(store), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no suite {name!r} was run into {store}{hint}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    try:
        header = msgspec.json.decode(content)
        version = header.get("schema_version") if isinstance(header, dict) else None
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"{file} has schema_version {version}, this clsbench reads {SCHEMA_VERSION}"
            )
        return msgspec.json.decode(content, type=SuiteResults)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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
