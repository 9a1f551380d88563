from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from clsbench.cli.fields import fields_of, value_text


class Options(msgspec.Struct, frozen=True):
    """Every kind of option that a component may have."""

    required: int
    choice: Annotated[Literal["small", "large", "medium"], Meta(description="which")] = "small"
    count: Annotated[int, Meta(ge=1, le=5)] = 2
    share: Annotated[float, Meta(gt=0, lt=1, description="of all")] | None = None
    padding: Annotated[
        Annotated[int, Meta(ge=1)] | Literal["none", "context"], Meta(description="how far")
    ] = "none"
    file: Path = Path("a")
    flag: bool = True
    names: tuple[str, ...] = ("a", "b")
    made: list[int] = msgspec.field(default_factory=lambda: [1])
    renamed: str = msgspec.field(default="x", name="other")


def test_fields_of_describes_every_kind_of_option() -> None:
    described = {
        field.name: (field.type, field.default_text, field.description)
        for field in fields_of(Options)
    }
    assert described == {
        "required": ("int", "none", ""),
        "choice": ("small | large | medium", "small", "which"),
        "count": ("int ≥ 1, ≤ 5", "2", ""),
        "share": ("float > 0, < 1", "none", "of all"),
        "padding": ("int ≥ 1 | none | context", "none", "how far"),
        "file": ("path", "a", ""),
        "flag": ("bool", "true", ""),
        "names": ("list of text", "[a, b]", ""),
        "made": ("list of int", "[1]", ""),
        "other": ("text", "x", ""),
    }
    assert [field.name for field in fields_of(Options) if field.required] == ["required"]


def test_value_text_formats_values_as_in_toml() -> None:
    assert value_text(False) == "false"
    assert value_text(None) == "none"
    assert value_text((1, True)) == "[1, true]"
