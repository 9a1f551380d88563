"""Components in the options of others: a data set that wraps a registered one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_files import complaint

import clsbench
from clsbench import testing
from clsbench.cli.fields import fields_of
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.identity import decisive, identify, label_of
from clsbench.components.resolve import Experiment, resolve
from clsbench.errors import UsageError
from clsbench.experiment.preparation import prepare_files, stored_spec
from clsbench.schema.experiment import (
    ExperimentSpec,
    fingerprint,
    format_component,
    format_toml,
    parse_toml,
)
from clsbench.schema.options import RunOptions

PLUGIN = """
import clsbench


class First(clsbench.Dataset):
    "The first texts of another data set."

    of: clsbench.Dataset
    texts: int = 100

    def load(self, files):
        corpus = self.of.load(files)
        texts, labels = corpus.texts[: self.texts], corpus.labels[: self.texts]
        return clsbench.Corpus(class_names=corpus.class_names, texts=texts, labels=labels)


class Letters(clsbench.Dataset):
    "Letters of two kinds."

    def load(self, files):
        texts = [f"{letter} {n}" for n in range(9) for letter in "abcdefgh"]
        return clsbench.Corpus(class_names=("a", "b"), texts=texts, labels=[0, 1] * 36)


@clsbench.hookimpl
def clsbench_register_datasets():
    return {"first": First, "letters": Letters}
"""

BASE = ExperimentSpec(name="own", dataset="synthetic-sms", backbone="gpt2-nano")
WRAPPED = {"name": "synthetic-sms", "texts": 300}


@pytest.fixture
def wrapping(write: Callable[[str], str]) -> Catalog:
    return load_catalog([write(PLUGIN)])


def with_dataset(choice: Any, catalog: Catalog) -> Experiment:
    return resolve(BASE, {"dataset": choice}, catalog)


def identity_of(experiment: Experiment) -> str:
    identity = identify(experiment, ("dataset",))[0]
    return fingerprint([experiment.tree["dataset"], decisive(identity)])


def test_wrapped_data_set_is_made_from_text_table_and_instance(wrapping: Catalog) -> None:
    made = with_dataset("first:of=synthetic-sms:texts=300,texts=50", wrapping)
    assert made.tree["dataset"] == {"name": "first", "of": WRAPPED, "texts": 50}
    choices = (
        {"name": "first", "of": WRAPPED, "texts": 50},
        made.dataset,
        made.label("dataset"),
        'first:"of={name = ""synthetic-sms"", texts = 300}",texts=50',
        {"name": "first", "of": "synthetic-sms:texts=300", "texts": "50"},
    )
    assert made.label("dataset") == "first:of=synthetic-sms:texts=300,texts=50"
    for choice in choices:
        assert with_dataset(choice, wrapping).dataset == made.dataset
    assert parse_toml(format_toml(made.spec), "own").dataset == made.spec.dataset
    assert len(made.dataset.load({}).texts) == 50


def test_wrapped_data_set_in_a_wrapped_one_keeps_its_options(wrapping: Catalog) -> None:
    text = 'first:"of=first:""of=csv:path=a.csv,text=body"",texts=70",texts=50'
    tree = with_dataset(text, wrapping).tree["dataset"]
    assert tree["of"]["texts"] == 70
    assert tree["of"]["of"]["text"] == "body"
    assert with_dataset(format_component(tree), wrapping).tree["dataset"] == tree


def test_wrapping_data_set_conforms(wrapping: Catalog) -> None:
    testing.check_dataset(with_dataset("first:of=letters,texts=40", wrapping).dataset)


def test_wrapping_data_set_has_the_assets_files_and_stand_in_of_the_wrapped(
    wrapping: Catalog, tmp_path: Path
) -> None:
    wrapper = with_dataset("first:of=sms-spam", wrapping).dataset
    wrapped = with_dataset("sms-spam", wrapping).dataset
    assert wrapper.assets() == wrapped.assets() != ()
    assert wrapper.stand_in() == with_dataset("first:of=synthetic-sms", wrapping).dataset
    file = tmp_path / "a.csv"
    csv = with_dataset({"name": "first", "of": {"name": "csv", "path": str(file)}}, wrapping)
    assert csv.dataset.user_files() == (file,)
    with pytest.raises(UsageError, match=r"no such file: .*a\.csv"):
        prepare_files(csv, RunOptions(device="cpu", offline=True), wrapping)


def test_identity_includes_options_files_and_code_of_the_wrapped(
    wrapping: Catalog, tmp_path: Path
) -> None:
    same, other = (
        identity_of(with_dataset(f"first:of=synthetic-sms:texts={n}", wrapping)) for n in (300, 400)
    )
    assert same != other
    experiment = with_dataset("first:of=letters", wrapping)
    (identity,) = identify(experiment, ("dataset",))
    assert identity.parts["of"].component == "letters"
    assert identity.parts["of"].source_sha256 is not None
    assert "parts" in decisive(identity)

    def of_file(name: str, content: str) -> dict[str, Any]:
        (tmp_path / name).write_text(content)
        choice = {"name": "first", "of": {"name": "csv", "path": str(tmp_path / name)}}
        (found,) = identify(with_dataset(choice, wrapping), ("dataset",))
        return decisive(found)

    rows = "text,label\n" + "a text,a\nanother,b\n" * 20
    assert of_file("a.csv", rows) == of_file("b.csv", rows) != of_file("a.csv", rows + "c,a\n")


def test_stored_spec_of_a_wrapper_finds_its_file_from_the_working_directory_of_the_run(
    tmp_path: Path, write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = write(PLUGIN)
    (tmp_path / "texts.csv").write_text("text,label\n" + "a text,a\nanother,b\n" * 40)
    monkeypatch.chdir(tmp_path)
    record = clsbench.run(
        BASE,
        dataset="first:of=csv:path=texts.csv",
        device="cpu",
        dry_run=True,
        plugins=[plugin],
    )
    (identity,) = (each for each in record.plugins if each.axis == "dataset")
    assert label_of(record.spec["dataset"], identity).startswith('first:"of=csv:path=texts.csv,')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    dataset = stored_spec(record).dataset
    assert isinstance(dataset, dict)
    assert dataset["of"]["path"] == str(tmp_path / "texts.csv")


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("first", "of is required"),
        ("first:of=synthetic-smss", r"unknown dataset 'synthetic-smss'; did you mean"),
        ("first:of=synthetic-sms:texts=x", "texts = 'x'"),
        ("first:of=linear", "unknown dataset 'linear'"),
        ({"name": "first", "of": 3}, r"dataset 'first': of = 3: expected a dataset, NAME"),
        ({"name": "first", "of": {"texts": 3}}, "requires a name"),
        ("first:of=letters,texts=x", "texts = 'x'"),
        ("first:of=letters,text=3", "unknown key 'text'; did you mean 'texts'"),
    ],
)
def test_invalid_wrapped_data_set_is_refused(choice: Any, said: str, wrapping: Catalog) -> None:
    with pytest.raises(UsageError, match=said):
        with_dataset(choice, wrapping)


def test_options_list_names_the_axis_of_the_wrapped(wrapping: Catalog) -> None:
    kind = wrapping.entry("datasets", "first").component
    assert isinstance(kind, type)
    of, texts = fields_of(kind)
    assert (of.type, of.required) == ("dataset", True)
    assert texts.type == "int"


def test_default_of_an_option_may_be_a_component(write: Callable[[str], str]) -> None:
    letters = PLUGIN[PLUGIN.index("class Letters") : PLUGIN.index("@clsbench")]
    source = (
        letters
        + "\n"
        + PLUGIN.replace(letters, "").replace(
            "of: clsbench.Dataset", "of: clsbench.Dataset = Letters()"
        )
    )
    catalog = load_catalog([write("import clsbench\n" + source)])
    made = with_dataset("first", catalog)
    assert made.tree["dataset"] == {"name": "first", "of": {"name": "letters"}, "texts": 100}


def test_registration_of_an_option_with_several_components_is_refused(
    write: Callable[[str], str],
) -> None:
    path = write(PLUGIN.replace("of: clsbench.Dataset", "of: tuple[clsbench.Dataset, ...]"))
    assert "the option 'of' must hold one component, alone or optional" in complaint(path)


def test_optional_component_may_be_left_out(write: Callable[[str], str]) -> None:
    source = PLUGIN.replace("of: clsbench.Dataset", "of: clsbench.Dataset | None = None")
    catalog = load_catalog([write(source)])
    assert with_dataset("first", catalog).tree["dataset"] == {"name": "first", "texts": 100}
    assert with_dataset("first:of=letters", catalog).tree["dataset"]["of"] == {"name": "letters"}
