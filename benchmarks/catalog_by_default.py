"""The components of the catalog that can be timed with their default options."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from clsbench.components.catalog import load_catalog
from clsbench.schema.options import default_options

CATALOG = load_catalog(default_options({}).plugins)


def names(axis: str) -> list[str]:
    """The components of an axis; each is timed once it is registered."""
    return list(CATALOG.entries[axis])


def component(axis: str, name: str) -> Any:
    """The component with its defaults; skips the benchmark if an option has no default."""
    kind = CATALOG.entries[axis][name].component
    lacking = [field.name for field in msgspec.structs.fields(kind) if field.required]
    if lacking:
        pytest.skip(f"{name} has no default for {', '.join(lacking)}")
    return kind()
