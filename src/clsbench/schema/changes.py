"""Changes to a spec as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clsbench.schema.experiment import component_table, format_component, inline_toml
from clsbench.schema.training import ComponentTable


def changes_text(changes: object) -> str:
    """``freezing=all, train.lr=1e-4``; ``base`` for a row that changes nothing."""
    if not isinstance(changes, Mapping):  # converting refuses it
        return ""
    return ", ".join(f"{key}={value_text(value)}" for key, value in changes.items()) or "base"


def value_text(value: Any) -> str:
    """A value of a change as on the command line."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return format_component(dict(value))
    return value if isinstance(value, str) else inline_toml(value)


def short_component(choice: str | ComponentTable) -> str:
    """A component as in a spec, but without its empty options: for tables and names of runs."""
    table = component_table(choice)
    return format_component({k: v for k, v in table.items() if v not in ("", [], {})})
