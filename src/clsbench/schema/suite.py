"""Suites: named lists of rows that differ from a base experiment.

A row is a set of changes to a spec, as in ``clsbench run``; rows that resolve to the same
experiment share its record.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clsbench.errors import UsageError
from clsbench.schema.changes import changes_text, value_text
from clsbench.schema.convert import convert
from clsbench.schema.experiment import PublishedAccuracy, fingerprint, toml_tree
from clsbench.schema.tuning import TuneSpec, check_tune, refuse_fixed

Change = Any
"""The value of a dotted key: plain, or a component as text or table."""

SIZE_KEY = "data.train_size"
"""The key whose variation gives learning curves."""


class PublishedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures published for a row: accuracies as fractions by split, and the training time.

    ``remark`` describes inconsistencies of the figures.
    """

    accuracy: PublishedAccuracy
    minutes: Annotated[float, Meta(ge=0)] | None = None
    remark: str = ""


class SuiteRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row: how it differs from the base, by dotted key (``{"train.lr": 1e-4}``)."""

    label: Annotated[
        str,
        Meta(
            pattern=r"^[^\s,]+\Z",
            description="name of the row in --rows, without spaces and commas",
        ),
    ]
    title: str = ""
    changes: dict[str, Change] = {}
    published: PublishedRow | None = None


class SuiteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Experiments that differ from a base: a registered experiment's name, or a TOML file of one.

    ``changes`` hold for every row, below the row's own. ``source`` and ``conditions`` say where
    published figures come from, and how they were measured. With ``tune``, every row is tuned: the
    values are tried above all changes, and the row is the trial with the best validation score.
    """

    base: str
    rows: Annotated[tuple[SuiteRow, ...], Meta(min_length=1)]
    name: str = ""
    description: str = ""
    changes: dict[str, Change] = {}
    source: str = ""
    conditions: str = ""
    tune: TuneSpec | None = None

    def changes_of(self, row: SuiteRow, for_all: Mapping[str, Change]) -> dict[str, Change]:
        """The changes of ``row`` to the base, including the user's changes ``for_all``.

        The row's own changes take precedence. A component that the row replaces does not inherit
        options that were set for the previous one.
        """
        merged: dict[str, Change] = {}
        for changes in (self.changes, for_all, row.changes):
            merged = with_changes(merged, changes)
        return merged

    def chosen(self, text: str) -> tuple[SuiteRow, ...]:
        """The rows that ``text`` names, in the suite's order: ``1-5,10``, or labels.

        In a swept suite, ``2`` stands for all of 2.1, 2.2 and so on.

        Raises:
            UsageError: a row does not exist.
        """
        labels = [row.label for row in self.rows]

        def places(name: str) -> list[int]:
            exact = [place for place, label in enumerate(labels) if label == name]
            return exact or [n for n, label in enumerate(labels) if label.startswith(f"{name}.")]

        wanted: set[str] = set()
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            first, dash, last = part.partition("-")
            if found := places(part):
                wanted.update(labels[place] for place in found)
            elif dash and first and (starts := places(first)) and (ends := places(last)):
                between = labels[starts[0] : ends[-1] + 1]
                if not between:
                    raise UsageError(f"--rows {part}: {first} comes after {last}")
                wanted.update(between)
            else:
                raise UsageError(
                    f"suite {self.name!r} has no row {part!r}; its rows: " + ", ".join(labels)
                )
        if not wanted:
            raise UsageError(f"--rows {text!r} selects no row; example: --rows 1-5,10")
        return tuple(row for row in self.rows if row.label in wanted)


def with_changes(before: Mapping[str, Change], later: Mapping[str, Change]) -> dict[str, Change]:
    """Both sets of changes merged; ``later`` takes precedence."""
    merged = {
        key: value
        for key, value in before.items()
        if not any(key == new or key.startswith(f"{new}.") for new in later)
    }
    return {**merged, **later}


def check_suite(suite: SuiteSpec, where: str) -> None:
    """Check what types cannot express.

    Raises:
        UsageError: two rows have the same label, a row changes the seed or what is tuned, the name
            is not a valid file name, or a published figure is impossible.
    """
    convert(msgspec.to_builtins(suite), SuiteSpec, where)  # constructors do not validate
    if set(suite.name) & set("/\\:") or suite.name.startswith(".") or not suite.name.isprintable():
        raise UsageError(
            f"{where}: the name {suite.name!r} is not a valid file name; use "
            "letters, digits, - and _"
        )
    seen: set[str] = set()
    for row in suite.rows:
        if row.label in seen:
            raise UsageError(f"{where}: two rows have the label {row.label!r}")
        if "seed" in row.changes:
            raise UsageError(
                f"{where}: row {row.label} changes the seed, which is not allowed; use --seeds "
                "1,2,3 to run every row with these seeds"
            )
        seen.add(row.label)
    if suite.tune is not None:
        check_tune(suite.tune, f"{where}: tune")
        for row in suite.rows:
            refuse_fixed(suite.tune, row.changes, f"{where}: row {row.label}")


def parse_suite(text: str, source: str) -> SuiteSpec:
    """Read a suite from TOML: ``base``, ``[[rows]]`` with ``label`` and ``changes``, ``[tune]``.

    A row's default label is its number; its default title lists its changes.

    Raises:
        UsageError: it is not valid TOML, or not a suite.
    """
    tree = toml_tree(text, source)
    rows = tree.get("rows")
    if not isinstance(rows, list):
        raise UsageError(f"{source}: a suite requires rows: [[rows]] with changes = {{…}}")
    tree["rows"] = [
        {"label": str(number), "title": changes_text(row.get("changes", {})), **row}
        if isinstance(row, Mapping)
        else row
        for number, row in enumerate(rows, 1)
    ]
    suite = convert({"name": Path(source).stem, **tree}, SuiteSpec, source)
    check_suite(suite, source)
    return suite


SweepAxis = tuple[str, Sequence[Change]]
"""A dotted key and its values."""


def sweep(base: str, axes: Sequence[SweepAxis], name: str = "") -> SuiteSpec:
    """Every combination of the values of ``axes``, each one row.

    Raises:
        UsageError: an axis is named twice, has no values, or is the seed.
    """
    rows = []
    for number, changes in enumerate(_combinations(axes), 1):
        rows.append(SuiteRow(label=str(number), title=changes_text(changes), changes=changes))
    return SuiteSpec(
        name=name or _sweep_name(Path(base).stem, base, axes),
        description=_sweep_description(axes),
        base=base,
        rows=tuple(rows),
    )


def sweep_rows(suite: SuiteSpec, axes: Sequence[SweepAxis], source: str) -> SuiteSpec:
    """Every row of ``suite`` with every combination of the values of ``axes``.

    The first combination of row 2 is row 2.1, and so on. Published figures are those of other
    experiments, so they are left out. ``source`` is the suite's name or file.

    Raises:
        UsageError: see :func:`sweep`; also if a row itself sets a swept key.
    """
    combinations = _combinations(axes)
    rows = []
    for row in suite.rows:
        for key, _ in axes:
            own = next((k for k in row.changes if k == key or k.startswith(f"{key}.")), None)
            if own is not None:
                raise UsageError(
                    f"--sweep {key}=…: row {row.label} of suite {suite.name!r} sets {own} itself; "
                    "sweep another setting, or use a suite without this row"
                )
        for number, changes in enumerate(combinations, 1):
            rows.append(
                SuiteRow(
                    label=f"{row.label}.{number}",
                    title=", ".join(filter(None, (row.title, changes_text(changes)))),
                    changes={**row.changes, **changes},
                )
            )
    return msgspec.structs.replace(
        suite,
        name=_sweep_name(suite.name, source, axes),
        description=": ".join(filter(None, (suite.description, _sweep_description(axes)))),
        rows=tuple(rows),
        source="",
        conditions="",
    )


def _combinations(axes: Sequence[SweepAxis]) -> list[dict[str, Change]]:
    keys = [key for key, _ in axes]
    for key, values in axes:
        if keys.count(key) > 1:
            raise UsageError(f"--sweep {key}=… is given twice; list all values in one")
        if not values:
            raise UsageError(f"--sweep {key}= has no values; example: --sweep {key}=A,B")
        if key == "seed":
            raise UsageError("--sweep seed=…: rows cannot differ in the seed; use --seeds 1,2,3")
    products = itertools.product(*(values for _, values in axes))
    return [dict(zip(keys, values, strict=True)) for values in products]


def _sweep_name(name: str, source: str, axes: Sequence[SweepAxis]) -> str:
    """Other values, or another file of the same name, make another suite."""
    digest = fingerprint([source, [(key, list(map(value_text, values))) for key, values in axes]])[
        :6
    ]
    return "-".join([name, "by", *(key for key, _ in axes), digest])


def _sweep_description(axes: Sequence[SweepAxis]) -> str:
    return " × ".join(f"{key} ({len(values)})" for key, values in axes)
