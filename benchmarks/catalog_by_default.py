"""What is in the catalog, and which of it can be timed: components as they are by default."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from clsbench.components.catalog import load_catalog
from clsbench.schema.options import default_options

CATALOG = load_catalog(default_options({}).plugins)


def names(axis: str) -> list[str]:
    """Those of an axis; each is timed from the day on which it is registered."""
    return list(CATALOG.entries[axis])


def component(axis: str, name: str) -> Any:
    """The component with its defaults; skips what has none for some of its options."""
    kind = CATALOG.entries[axis][name].component
    lacking = [field.name for field in msgspec.structs.fields(kind) if field.required]
    if lacking:
        pytest.skip(f"{name} has no default for {', '.join(lacking)}")
    return kind()
