"""Resolve the experiments named on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clsbench.cli.output import only_results_on_stdout
from clsbench.errors import UsageError

if TYPE_CHECKING:
    from clsbench.components.catalog import Catalog
    from clsbench.components.resolve import Experiment
    from clsbench.schema.experiment import ExperimentSpec


def resolve_named(
    name_or_file: str, variants: Sequence[Mapping[str, Any]], catalog: Catalog
) -> list[Experiment]:
    """The experiment with each set of changes.

    Raises:
        UsageError: the experiment is invalid; the message names the file if the error is in it.
    """
    from clsbench.components.resolve import find_spec, resolve

    base = find_spec(name_or_file, catalog)
    is_file = name_or_file not in catalog.entries["experiments"]
    try:
        with only_results_on_stdout():
            return [resolve(base, changes, catalog) for changes in variants]
    except UsageError as error:
        if is_file and _fails_by_itself(base, catalog, error):
            raise type(error)(f"{name_or_file}: {error}") from None
        raise


def _fails_by_itself(base: ExperimentSpec, catalog: Catalog, error: UsageError) -> bool:
    from clsbench.components.resolve import resolve

    try:
        resolve(base, {}, catalog)
    except UsageError as unchanged:
        return str(unchanged) == str(error)
    return False
