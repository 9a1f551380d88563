"""Conversion of plain values to structs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.errors import UsageError
from clsbench.schema.convert import convert, parse_value


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    share: float = 0.5
    word: str = ""
    words: tuple[str, ...] = ()
    numbers: list[int] | None = None
    by_name: dict[str, float] = {}
    either: str | list[str] = ""
    size: Literal["small", "large"] = "small"
    path: Path | None = None


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"count": "3", "share": "0.25"}, Options(count=3, share=0.25)),
        ({"words": '["a", "b,c"]'}, Options(words=("a", "b,c"))),
        ({"numbers": "[1, 2]"}, Options(numbers=[1, 2])),
        ({"numbers": None}, Options()),
        ({"by_name": "{a = 1.5}"}, Options(by_name={"a": 1.5})),
        ({"word": "[1, 2]"}, Options(word="[1, 2]")),
        ({"either": "[1, 2]"}, Options(either="[1, 2]")),
        ({"path": Path("x")}, Options(path=Path("x"))),
    ],
)
def test_convert_text_to_the_types_of_the_struct(given_: dict[str, Any], expected: Options) -> None:
    assert convert(given_, Options, "here") == expected


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"cuont": 1}, "here: unknown key 'cuont'; did you mean 'count'?"),
        ({"count": 0}, "here: count = 0: expected int >= 1"),
        ({"words": "[a"}, "here: words = '[a': expected array, got str; it is not a valid TOML"),
        ({"words": "a"}, "here: words = 'a': expected array, got str"),
        ({"words": ["a", 1]}, "here: words.1 = 1: expected str, got int"),
        ({"by_name": {"a": "x"}}, "by_name"),
        ({"by_name": {"a": float("nan")}}, "here: by_name.a = nan: expected a finite number"),
        ({"share": float("inf")}, "here: share = inf"),
        ({"count": 2**63}, "here: count = 9223372036854775808: number out of range"),
        ({"word": "\ud800"}, "is not text in UTF-8"),
        ({"by_name": {"\ud800": 1.0}}, "is not text in UTF-8"),
        ({"words": "[" * 5000}, "nested too deeply"),
        ({"size": "medium"}, "(one of: large, small)"),
        ("nothing", "here: value = 'nothing': expected table, got str"),
    ],
)
def test_convert_invalid_value_is_refused_with_its_key(given_: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(given_, Options, "here")
    assert said in str(caught.value)


def test_convert_long_value_is_truncated_in_the_error() -> None:
    with pytest.raises(UsageError) as caught:
        convert({"count": "x" * 100_000}, Options, "here")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", "1e-4"),
        ("true", "true"),
        ("[1, 2]", [1, 2]),
        (' ["a"]', ["a"]),
        ("{a = 1, b = 'x'}", {"a": 1, "b": "x"}),
    ],
)
def test_parse_value_parses_arrays_and_tables(text: str, value: object) -> None:
    assert parse_value(text) == value


@given(st.text())
def test_parse_value_any_text_is_kept_or_refused(text: str) -> None:
    try:
        value = parse_value(text)
    except UsageError:
        assert text.lstrip().startswith(("[", "{"))
        return
    assert value == text or text.lstrip().startswith(("[", "{"))


def test_parse_value_that_is_not_valid_toml_is_text() -> None:
    assert parse_value("[1, 2]") == [1, 2]
    assert parse_value("[old] reviews.csv") == "[old] reviews.csv"
    assert parse_value("{") == "{"
