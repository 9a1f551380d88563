"""The specification of an experiment: its text forms, its overrides, its fingerprint."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.errors import UsageError
from clsbench.schema.experiment import (
    DataSettings,
    ExperimentSpec,
    PublishedFigures,
    SplitSettings,
    component_table,
    fingerprint,
    format_component,
    format_toml,
    from_tree,
    override,
    parse_component,
    parse_toml,
    to_tree,
    value_at,
    with_value,
)
from clsbench.schema.training import TrainSettings

SPEC = ExperimentSpec(name="mine", dataset="sms-spam", backbone="gpt2:size=small")

any_text = st.text(st.characters(codec="utf-8"))
names = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True)
option_names = st.from_regex(r"[a-z_][a-z0-9_]*", fullmatch=True).filter(lambda n: n != "name")
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    options = st.dictionaries(option_names, values, max_size=4)
    return st.builds(lambda name, rest: {"name": name, **rest}, names, options)


# --- components in text -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("all", {"name": "all"}),
        (" all ", {"name": "all"}),
        ("all:", {"name": "all"}),
        ("last-blocks:n=2", {"name": "last-blocks", "n": "2"}),
        ("csv:path=a.csv, text=body", {"name": "csv", "path": "a.csv", "text": "body"}),
        ('csv:"path=a,b.csv",label=y', {"name": "csv", "path": "a,b.csv", "label": "y"}),
        ('csv:path=say "hi".csv', {"name": "csv", "path": 'say "hi".csv'}),
        ("csv:path=C:/x=y.csv", {"name": "csv", "path": "C:/x=y.csv"}),
        ("csv:split=", {"name": "csv", "split": ""}),
    ],
)
def test_parse_component_text_gives_name_and_options(text: str, table: dict[str, str]) -> None:
    assert parse_component(text) == table
    assert parse_component(format_component(table)) == table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no name"),
        (":n=1", "has no name"),
        ("a:n", "'n' is not an option=value pair"),
        ("a:=1", "'=1' is not an option=value pair"),
        ("a:n=1,", "'' is not an option=value pair"),
        ("a:n=1,n=2", "sets the option 'n' twice"),
        ("a:name=b", "sets the option 'name' twice"),
        ("csv:path=a,b.csv", "put an option that contains a comma in double quotes"),
        ("a:n=1\rb=2", "cannot be read"),
        ("a:n=" + "x" * 200_000, "cannot be read"),
    ],
)
def test_parse_component_invalid_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_component(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


@given(tables(any_text))
def test_format_component_any_text_round_trips(table: dict[str, str]) -> None:
    assert parse_component(format_component(table)) == table


@given(tables(st.booleans() | integers | finite))
def test_format_component_numbers_and_booleans_round_trip(table: dict[str, Any]) -> None:
    read = parse_component(format_component(table))
    for option, value in table.items():
        if option == "name":
            continue
        if isinstance(value, bool):
            assert read[option] == str(value).lower()
        else:
            assert type(value)(read[option]) == value


nested = st.recursive(
    any_text | st.booleans() | integers | finite,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(nested, max_size=4) | st.dictionaries(any_text, nested, max_size=3))
def test_format_component_arrays_and_tables_are_toml(value: Any) -> None:
    text = parse_component(format_component({"name": "x", "option": value}))["option"]
    assert tomllib.loads(f"value = {text}")["value"] == value


def test_format_component_option_none_is_omitted() -> None:
    assert format_component({"name": "mlp", "width": None, "dropout": 0.5}) == "mlp:dropout=0.5"


# --- TOML -------------------------------------------------------------------------------------

plain = any_text | st.booleans() | integers | finite
choices = tables(plain | st.lists(plain, max_size=3)) | names
specs = st.builds(
    ExperimentSpec,
    name=any_text,
    description=any_text,
    dataset=choices,
    backbone=choices,
    adapter=st.none() | choices,
    baselines=st.lists(choices, max_size=3).map(tuple),
    data=st.builds(
        DataSettings,
        split=st.builds(
            SplitSettings,
            name=st.none() | st.sampled_from(["stratified", "book", "book-ablation", "predefined"]),
            train=st.floats(0.1, 0.9),
        ),
        balance=st.none() | st.booleans(),
        padding=st.integers(1, 1024) | st.sampled_from(["longest-train", "context", "none"]),
    ),
    train=st.builds(TrainSettings, epochs=st.integers(1, 100), lr=st.floats(1e-12, 10)),
    seed=st.integers(0, 2**32 - 1),
    published=st.none()
    | st.builds(
        PublishedFigures,
        source=any_text,
        conditions=any_text,
        accuracy=st.dictionaries(
            st.sampled_from(["train", "validation", "test"]), st.floats(0, 1), max_size=2
        ),
        losses=st.lists(st.tuples(st.integers(0, 99), finite, finite), max_size=2).map(tuple),
    ),
)


@given(specs)
def test_format_toml_any_spec_round_trips(spec: ExperimentSpec) -> None:
    again = parse_toml(format_toml(spec), "spec.toml")
    assert to_tree(again) == to_tree(spec)
    assert fingerprint(again.identity()) == fingerprint(spec.identity())


def test_parse_toml_name_defaults_to_the_file_name() -> None:
    text = 'dataset = "a"\nbackbone = "b"\n'
    assert parse_toml(text, "/some/where/my-spec.toml").name == "my-spec"
    assert parse_toml(f'name = "other"\n{text}', "my-spec.toml").name == "other"


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a." * 100_000 + "b = 1"])
def test_parse_toml_deep_nesting_is_refused_with_the_file(text: str) -> None:
    with pytest.raises(UsageError, match=r"^my\.toml is not valid TOML: it is nested too deeply"):
        parse_toml(text, "my.toml")


def test_override_key_of_many_parts_is_refused() -> None:
    with pytest.raises(UsageError, match="nested too deeply"):
        override(SPEC, {".".join("a" * 2000): 1})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('dataset = "a"\nbackbone = \n', "line 2: backbone ="),
        ('dataset = "a"\n[train\nepochs = 1\n', "line 2: [train"),
        ("a = 1\na = 2\n", "line 2: a = 2"),
        ("x = 'never closed\n\n\n", "line 1: x = 'never closed"),
        ("x = 1 y = 2", "line 1: x = 1 y = 2"),
        ("x = [1,\n2,\n", "line 2: 2,"),
        ('x = "a\u2028b"\r\ny = \r\n', "line 2: y ="),
    ],
)
def test_parse_toml_syntax_error_shows_the_line(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_toml(text, "my.toml")
    assert str(caught.value).startswith("my.toml is not valid TOML: ")
    assert str(caught.value).endswith(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datset = 'a'", "unknown key 'datset'; did you mean 'dataset'?"),
        ("[train]\nlearning_rate = 1", "unknown key 'learning_rate' in train"),
        ("[data.split]\ntrian = 0.5", "unknown key 'trian' in data.split; did you mean 'train'?"),
        ("[train]\nepochs = 0", "train.epochs = 0: expected int >= 1"),
        ("[train]\nlr = inf", "train.lr = inf: expected a finite number"),
        ("[train]\nlr = nan", "train.lr = nan"),
        ("[train]\nbatch_size = 99999999999999999999", "out of range"),
        ("train = 3", "train = 3: expected table, got int"),
        ("[data]\nquoting = 'none'", "set dataset.quoting = 'none' instead"),
        ("[data]\npadding = 'longest'", "(one of: context, longest-train, none)"),
        ("seed = -1", "seed = -1: expected int >= 0"),
        ("baselines = 'majority'", "baselines = 'majority': expected array, got str"),
        ("baselines = ['majority', 3]", "baselines.1 = 3: expected str | table, got int"),
        ("dataset = 3", "dataset = 3: expected str | table"),
        ("dataset = { name = 'csv', n = 99999999999999999999 }", "dataset.n = 9"),
        ("dataset = { name = 'csv', x = [1, nan] }", "dataset.x.1 = nan"),
    ],
)
def test_parse_toml_invalid_value_is_refused_with_its_key(text: str, said: str) -> None:
    required = "".join(
        f"{key} = 'x'\n" for key in ("dataset", "backbone") if not text.startswith(key)
    )
    with pytest.raises(UsageError) as caught:
        parse_toml(required + text, "my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert said in str(caught.value)


def test_parse_toml_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match="backbone is required and was not given"):
        parse_toml("dataset = 'x'", "my.toml")


@given(any_text)
def test_parse_toml_any_text_is_read_or_raises_usage_error(text: str) -> None:
    try:
        spec = parse_toml(text, "any.toml")
    except UsageError:
        return
    assert parse_toml(format_toml(spec), "any.toml") == spec


# --- overrides --------------------------------------------------------------------------------


def test_override_sets_the_named_keys() -> None:
    changed = override(
        SPEC,
        {
            "train.lr": "1e-4",
            "train.epochs": 3,
            "data.split.train": "0.6",
            "data.padding": "64",
            "data.balance": "false",
            "freezing": "last-blocks:n=2",
            "backbone.size": "medium",
            "adapter.name": "lora",
            "seed": "7",
        },
    )
    assert (changed.train.lr, changed.train.epochs, changed.train.batch_size) == (1e-4, 3, 8)
    assert changed.data == DataSettings(split=SplitSettings(train=0.6), padding=64, balance=False)
    assert changed.freezing == {"name": "last-blocks", "n": "2"}
    assert changed.backbone == {"name": "gpt2", "size": "medium"}
    assert changed.adapter == {"name": "lora"}
    assert changed.seed == 7
    assert SPEC.train == TrainSettings()  # unchanged


def test_override_component_in_a_table_is_set_before_its_options() -> None:
    changed = override(SPEC, {"train.optimizer.momentum": "0.9", "train.optimizer": "sgd"})
    assert changed.train.optimizer == {"name": "sgd", "momentum": "0.9"}
    again = override(changed, {"train.optimizer.momentum": "0.5", "train.lr": 1})
    assert again.train.optimizer == {"name": "sgd", "momentum": "0.5"}
    assert override(again, {"train.optimizer": "adamw"}).train.optimizer == {"name": "adamw"}
    assert SPEC.train.optimizer == "adamw"  # unchanged


def test_with_value_changes_a_copy() -> None:
    tree = {"train": {"lr": 1.0, "optimizer": {"name": "adamw"}}, "seed": 1}
    changed = with_value(tree, "train.optimizer", {"name": "sgd"})
    assert value_at(changed, "train.optimizer") == {"name": "sgd"}
    assert value_at(tree, "train.optimizer.name") == "adamw"
    assert changed["train"]["lr"] == 1.0
    assert value_at(tree, "train.lr.x") is None
    assert value_at(tree, "none.at.all") is None


def test_override_split_accepts_a_name() -> None:
    assert override(SPEC, {"data.split": "book-ablation"}).data.split.name == "book-ablation"
    changed = override(SPEC, {"data.split": "book:train=0.5,seed=1"})
    assert changed.data.split == SplitSettings(name="book", train=0.5, seed=1)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.lrr", 1, "unknown key 'lrr' in train; did you mean 'lr'?"),
        ("tarin.lr", 1, "unknown key 'tarin'; did you mean 'train'?"),
        ("train.lr.x", 1, "train.lr.x cannot be set: train.lr holds a value"),
        ("train", "fast", "train = 'fast': expected table"),
        ("train.optimizer", 3, "train.optimizer = 3: expected str | table, got int"),
        ("train.optimizer", "sgd:momentum", "not an option=value pair"),
        ("", 1, "unknown key ''"),
        (".", 1, "unknown key ''"),
        ("train.epochs", "many", "train.epochs = 'many': expected int, got str"),
        ("train.epochs", "1.5", "train.epochs = '1.5': expected int"),
        ("train.epochs", True, "train.epochs = True: expected int, got bool"),
        ("train.lr", "inf", "expected a finite number"),
        ("train.lr", "0", "train.lr = '0': expected float > 0"),
        ("data.split", "bok", "(one of: book, book-ablation, group, predefined, stratified, time)"),
        ("data.split.train", "1.5", "expected float < 1.0"),
        ("data.balance", "maybe", "data.balance = 'maybe': expected bool, got str"),
        ("freezing", "last-blocks:n", "not an option=value pair"),
        ("name", "caf\udce9", "not text in UTF-8"),
    ],
)
def test_override_invalid_key_or_value_is_refused(key: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(SPEC, {key: value})
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_override_number_too_long_to_show_is_refused() -> None:
    with pytest.raises(UsageError, match=r"train\.epochs = a number too long to show"):
        override(SPEC, {"train.epochs": 10**5000})


@given(
    st.dictionaries(
        st.sampled_from(["train.lr", "train.epochs", "seed", "data.padding", "head", "adapter"])
        | any_text,
        any_text | integers | finite | st.booleans() | st.none() | st.lists(any_text, max_size=2),
        max_size=3,
    )
)
def test_override_any_changes_are_applied_or_raise_usage_error(changes: dict[str, Any]) -> None:
    try:
        changed = override(SPEC, changes)
    except UsageError:
        return
    assert to_tree(parse_toml(format_toml(changed), "x.toml")) == to_tree(changed)


# --- identity ---------------------------------------------------------------------------------


def test_identity_excludes_name_and_published_figures() -> None:
    figures = PublishedFigures(source="a", conditions="b", accuracy={"test": 0.9})
    renamed = override(SPEC, {"name": "other", "description": "the same"})
    assert renamed.identity() == SPEC.identity()
    tree = {**to_tree(SPEC), "published": {"source": "a", "conditions": "b", "accuracy": {}}}
    assert from_tree(tree, "test").identity() == SPEC.identity()
    assert figures.source == "a"


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"train.lr": 1e-3}, {"head": "mlp"}, {"data.split.seed": 5}]
)
def test_identity_changes_with_every_other_setting(changes: dict[str, Any]) -> None:
    assert override(SPEC, changes).identity() != SPEC.identity()


def test_fingerprint_is_short_stable_and_independent_of_key_order() -> None:
    assert fingerprint({"a": 1, "b": [1.5, "x"]}) == fingerprint({"b": [1.5, "x"], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    digest = hashlib.sha256(b'{"a":1,"b":[1.5,"x"]}').hexdigest()
    assert fingerprint({"a": 1, "b": [1.5, "x"]}) == digest[:16]


def test_component_table_accepts_text_and_table() -> None:
    assert component_table("mlp:width=3") == {"name": "mlp", "width": "3"}
    assert component_table({"name": "mlp", "width": 3}) == {"name": "mlp", "width": 3}
