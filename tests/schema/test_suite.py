"""The specification of a suite: rows, labels, sweeps, TOML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.errors import UsageError
from clsbench.schema.suite import (
    PublishedRow,
    SuiteRow,
    SuiteSpec,
    check_suite,
    parse_suite,
    sweep,
    sweep_rows,
    with_changes,
)

KEYS = st.sampled_from(["pooling", "pooling.include_padding", "train.lr", "backbone.size", "seed"])
CHANGES = st.dictionaries(KEYS, st.integers(0, 3))


def suite(*labels: str) -> SuiteSpec:
    return SuiteSpec(base="gpt2-sms-spam", name="s", rows=tuple(SuiteRow(label=n) for n in labels))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ["1"]),
        ("1-3", ["1", "2", "3"]),
        ("3,1", ["1", "3"]),
        ("1-2,b-c", ["1", "2", "b-c"]),
        ("2-b-c", ["2", "3", "b-c"]),
        (" 1 , 2 ", ["1", "2"]),
    ],
)
def test_suite_chosen_selects_labels_and_ranges(text: str, expected: list[str]) -> None:
    chosen = suite("1", "2", "3", "b-c").chosen(text)
    assert [row.label for row in chosen] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("9", "no row '9'"), ("1-9", "no row '1-9'"), ("3-1", "comes after"), (",", "selects no row")],
)
def test_suite_chosen_unknown_row_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        suite("1", "2", "3").chosen(text)


@given(before=CHANGES, later=CHANGES)
def test_with_changes_later_changes_win_and_component_options_reset(
    before: dict[str, int], later: dict[str, int]
) -> None:
    merged = with_changes(before, later)
    assert {key: merged[key] for key in later} == later
    assert set(merged) <= set(before) | set(later)
    if "pooling" in later and "pooling.include_padding" not in later:
        assert "pooling.include_padding" not in merged
    kept = set(before) - set(later) - ({"pooling.include_padding"} if "pooling" in later else set())
    assert {key: merged[key] for key in kept} == {key: before[key] for key in kept}


def test_suite_changes_of_row_take_precedence() -> None:
    row = SuiteRow(label="1", changes={"freezing": "all"})
    spec = SuiteSpec(base="b", rows=(row,), changes={"train.lr": 1, "freezing.n": 3})
    assert spec.changes_of(row, {"train.lr": 2, "freezing": "head-only"}) == {
        "train.lr": 2,
        "freezing": "all",
    }


def test_sweep_makes_a_row_for_every_combination() -> None:
    made = sweep("gpt2-sms-spam", [("freezing", ["all", "head-only"]), ("train.lr", ["1", "2"])])
    assert [row.changes for row in made.rows] == [
        {"freezing": "all", "train.lr": "1"},
        {"freezing": "all", "train.lr": "2"},
        {"freezing": "head-only", "train.lr": "1"},
        {"freezing": "head-only", "train.lr": "2"},
    ]
    assert made.rows[1].title == "freezing=all, train.lr=2"
    assert made.name.startswith("gpt2-sms-spam-by-freezing-train.lr-")


def test_sweep_with_other_values_or_another_file_has_another_name() -> None:
    sweeps = [
        ("x.toml", [("freezing", ["all", "head-only"])]),
        ("x.toml", [("freezing", ["head-only", "all"])]),
        ("x.toml", [("freezing", ["all"])]),
        ("x.toml", [("train.lr", ["all"])]),
        ("b/x.toml", [("freezing", ["all"])]),
    ]
    names = [sweep(base, axes).name for base, axes in sweeps]
    assert len(set(names)) == len(names)
    assert names == [sweep(base, axes).name for base, axes in sweeps]


def test_sweep_and_check_suite_rows_that_change_the_seed_are_refused() -> None:
    with pytest.raises(UsageError, match=r"rows cannot differ in the seed; use --seeds 1,2,3"):
        sweep("gpt2-sms-spam", [("seed", [1, 2])])
    row = SuiteRow(label="b", changes={"seed": 2})
    with pytest.raises(UsageError, match=r"there: row b changes the seed, .*--seeds 1,2,3"):
        check_suite(SuiteSpec(base="a", name="s", rows=(row,)), "there")


SIZES = ("data.train_size", [16, 64])


def test_sweep_rows_makes_every_row_with_every_value() -> None:
    rows = (
        SuiteRow(
            label="1",
            title="the head",
            changes={"freezing": "head-only"},
            published=PublishedRow(accuracy={"test": 0.9}),
        ),
        SuiteRow(label="b"),
    )
    before = SuiteSpec(base="a", name="mine", description="Which?", source="x", rows=rows)
    swept = sweep_rows(before, [SIZES], "mine.toml")
    assert [(row.label, row.title) for row in swept.rows] == [
        ("1.1", "the head, data.train_size=16"),
        ("1.2", "the head, data.train_size=64"),
        ("b.1", "data.train_size=16"),
        ("b.2", "data.train_size=64"),
    ]
    assert swept.rows[1].changes == {"freezing": "head-only", "data.train_size": 64}
    assert all(row.published is None for row in swept.rows)
    assert swept.name.startswith("mine-by-data.train_size-")
    assert swept.description == "Which?: data.train_size (2)"
    assert sweep_rows(before, [SIZES], "b/mine.toml").name != swept.name
    check_suite(swept, "here")
    chosen = [[row.label for row in swept.chosen(text)] for text in ("1", "b.2", "1.2-b", "1-b.1")]
    assert chosen == [["1.1", "1.2"], ["b.2"], ["1.2", "b.1", "b.2"], ["1.1", "1.2", "b.1"]]


@pytest.mark.parametrize("own", ["data.train_size", "data.train_size.x"])
def test_sweep_rows_row_that_sets_the_key_itself_is_refused(own: str) -> None:
    before = SuiteSpec(base="a", name="mine", rows=(SuiteRow(label="7", changes={own: 3}),))
    with pytest.raises(UsageError, match=rf"--sweep data.train_size=…: row 7 .* sets {own} itself"):
        sweep_rows(before, [SIZES], "mine.toml")


def test_sweep_over_one_key_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        sweep("x", [("freezing", ["all"]), ("freezing", ["head-only"])])


def test_parse_suite_rows_without_a_label_are_numbered() -> None:
    text = """
    base = "gpt2-sms-spam"
    [[rows]]
    changes = {freezing = "all"}
    [[rows]]
    label = "b"
    title = "the head"
    changes = {freezing = "head-only", "train.lr" = 1e-4}
    """
    found = parse_suite(text, "folder/mine.toml")
    assert found.name == "mine"
    assert [row.label for row in found.rows] == ["1", "b"]
    assert found.rows[1].changes == {"freezing": "head-only", "train.lr": 1e-4}
    assert [row.title for row in found.rows] == ["freezing=all", "the head"]
    unchanged = parse_suite('base = "b"\n[[rows]]\n[[rows]]\nchanges = {}', "mine.toml")
    assert [row.title for row in unchanged.rows] == ["base", "base"]


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("all", "k=all"),
        (0.5, "k=0.5"),
        (True, "k=true"),
        ({"name": "lora", "r": 4}, "k=lora:r=4"),
        ({"train": 0.5}, 'k={"train" = 0.5}'),
        (["majority"], 'k=["majority"]'),
    ],
)
def test_sweep_titles_write_values_as_toml_does(value: object, title: str) -> None:
    assert sweep("x", [("k", [value])]).rows[0].title == title


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "b"', "a suite requires rows"),
        ('[[rows]]\nlabel = "1"', "base is required"),
        ('base = "b"\nrows = []', "rows"),
        ('base = "b"\n[[rows]]\nlabel = "a b"', "label"),
        ('base = "b"\n[[rows]]\nchange = {}', "unknown key 'change'"),
        ('base = "b"\n[[rows]]\nlabel = "1"\n[[rows]]\nlabel = "1"', "two rows have the label '1'"),
        ("base = ", "not valid TOML"),
        ('base = "b"\nname = "../b"\n[[rows]]', "the name '../b' is not a valid file name"),
        ('base = "b"\n[[rows]]\npublished = {accuracy = {test = 95}}', "<= 1"),
        ('base = "b"\n[[rows]]\npublished = {accuracy = {foo = 0.5}}', "foo"),
        ('base = "b"\n[[rows]]\npublished = {accuracy = {}, minutes = -3}', "minutes"),
    ],
)
def test_parse_suite_invalid_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        parse_suite(text, "mine.toml")
    assert "mine.toml" in str(error.value)


def test_check_suite_duplicate_labels_are_refused() -> None:
    check_suite(suite("1", "2"), "here")
    with pytest.raises(UsageError, match="here: two rows"):
        check_suite(suite("1", "1"), "here")
