"""Warnings about the classes of a corpus."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.data.labels import label_warnings

CAFE = "caf\u00e9"


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (("ham", "Ham", "HAM"), "case"),
        (("not spam", "not  spam"), "spaces"),
        (("not spam", "not\u00a0spam"), "spaces"),
        (("not spam", "notspam"), "spaces"),
        (("ham", "ham\u200b"), "invisible characters"),
        (("ham", "\ufeffham"), "invisible characters"),
        (("\u2764", "\u2764\ufe0f"), "invisible characters"),
        ((CAFE, unicodedata.normalize("NFD", CAFE)), "their Unicode form"),
        (("spam", "\uff53pam"), "their Unicode form"),
        (("Ham", "ha m"), "case and spaces"),
    ],
)
def test_label_warnings_look_alike_classes_are_reported(
    names: tuple[str, ...], difference: str
) -> None:
    (warning,) = label_warnings({**dict.fromkeys(names, 50), "another": 50})
    assert f"differ only in {difference}; if they are one class" in warning
    assert "another" not in warning
    assert warning.count("(50)") == len(names)


def test_label_warnings_names_that_look_the_same_are_shown_in_ascii() -> None:
    (warning,) = label_warnings({CAFE: 40, unicodedata.normalize("NFD", CAFE): 9})
    assert "the classes 'caf\\xe9' (40), 'cafe\\u0301' (9) differ" in warning


@pytest.mark.parametrize(
    "name", ["None", "N/A", "nan", "null", "-", "?", "unknown", " NULL ", "#N/A", "\u200b"]
)
def test_label_warnings_placeholder_is_reported(name: str) -> None:
    (warning,) = label_warnings({"ham": 50, "spam": 50, name: 12})
    assert warning.startswith(f"{name!r} (12 texts) may stand for a missing label; if so, remove")


@pytest.mark.parametrize(
    "names", [("+", "-"), ("0", "1"), ("1", "-1"), ("yes", "no"), ("positive", "negative")]
)
def test_label_warnings_ordinary_classes_are_not_reported(names: tuple[str, ...]) -> None:
    assert label_warnings(dict.fromkeys(names, 50)) == []


def test_label_warnings_very_rare_classes_are_reported_in_one_line() -> None:
    (warning,) = label_warnings({"ham": 500, "spam": 5, "odd": 4, "odder": 1})
    assert "2 of 4 classes have 4 texts or fewer" in warning
    assert "'odder', 'odd'" in warning
    (warning,) = label_warnings({"ham": 500, **{f"class {n:02}": 1 for n in range(50)}})
    assert "50 of 51 classes" in warning
    assert "'class 07' and 42 more" in warning


@given(st.dictionaries(st.text(max_size=30), st.integers(1, 9), max_size=40))
def test_label_warnings_accept_any_class_names(counts: dict[str, int]) -> None:
    warnings = label_warnings(counts)
    assert all(len(warning) < 2000 for warning in warnings)
    assert len(warnings) <= 11


def test_label_warnings_long_names_are_truncated() -> None:
    warnings = label_warnings({"x" * 5000: 1, "X" * 5000: 1, "y" * 5000: 1})
    assert all(len(warning) < 500 for warning in warnings)
