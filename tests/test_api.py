"""``clsbench.run``: errors and warnings that the command line shows on stderr."""

from __future__ import annotations

import linecache
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.components.instances import with_instances


def test_run_failing_installed_plugin_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[clsbench]\nbroken = no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        caplog.at_level(logging.WARNING, logger="clsbench"),
        pytest.raises(clsbench.UsageError, match="unknown freezing strategy 'nope'"),
    ):
        clsbench.run("gpt2-sms-spam", freezing="nope")
    assert "skipped an installed plugin: plugin broken (broken) cannot be imported" in caplog.text


def test_run_failed_error_names_the_stored_run(tmp_path: Path) -> None:
    with pytest.raises(clsbench.RunFailedError, match=r"loss is .* at step .* kept in") as caught:
        clsbench.run(
            "gpt2-sms-spam",
            offline=True,
            settings={
                "train.lr": 1e38,
                "train.epochs": 1,
                "dataset": "synthetic-sms:texts=120",
                "data.padding": 16,
            },
            device="cpu",
            out=tmp_path,
        )
    assert caught.value.path.parent == tmp_path
    assert clsbench.load_results(tmp_path)["status"].tolist() == ["failed"]


class FruitTexts(clsbench.Dataset, frozen=True):
    count: int = 60

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        texts = [f"{('apple', 'pear')[i % 2]} number {i}" for i in range(self.count)]
        labels = [i % 2 for i in range(self.count)]
        return clsbench.Corpus(class_names=("apple", "pear"), texts=texts, labels=labels)


class Majority(clsbench.Baseline, frozen=True):
    pass


def test_run_unregistered_component_is_named_after_its_class() -> None:
    record = dry_run(dataset=FruitTexts(count=80), settings={"data.split": "stratified"})
    assert record.spec["dataset"] == {"name": "fruit-texts", "count": 80}
    dataset = record.plugins[0]
    assert (dataset.axis, dataset.component) == ("dataset", "fruit-texts")
    assert dataset.distribution == __name__
    assert dataset.version is None
    assert dataset.source_sha256 is not None


class Half(clsbench.Dataset, frozen=True):
    of: clsbench.Dataset

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        corpus = self.of.load(files)
        half = len(corpus.texts) // 2
        return clsbench.Corpus(
            class_names=corpus.class_names, texts=corpus.texts[:half], labels=corpus.labels[:half]
        )


def test_run_unregistered_component_may_hold_another() -> None:
    record = dry_run(dataset=Half(of=FruitTexts(count=120)))
    assert record.spec["dataset"] == {"name": "half", "of": {"name": "fruit-texts", "count": 120}}
    assert record.data is not None
    assert record.data.corpus_texts == 60


class Halving(clsbench.Schedule, frozen=True):
    """Half the learning rate."""

    def factor(self, step: int, steps: int) -> float:
        """One half."""
        return 0.5


def test_run_unregistered_part_of_the_training_recipe_is_recorded() -> None:
    record = dry_run(settings={"train.schedule": Halving(), "train.optimizer": "sgd"})
    assert record.spec["train"]["schedule"] == {"name": "halving"}
    (schedule,) = [each for each in record.plugins if each.axis == "train.schedule"]
    assert (schedule.component, schedule.distribution) == ("halving", __name__)


def test_make_component_makes_registered_components() -> None:
    made = clsbench.make_component("dataset", "synthetic-sms:texts=30")
    assert len(made.load({}).texts) == 30
    assert clsbench.make_component("datasets", {"name": "synthetic-sms", "texts": 30}) == made
    assert dry_run(dataset=Half(of=made)).spec["dataset"]["of"]["texts"] == 30
    with pytest.raises(clsbench.UsageError, match="unknown dataset 'sms'"):
        clsbench.make_component("dataset", "sms")
    with pytest.raises(clsbench.UsageError, match="unknown axis"):
        clsbench.make_component("data", "sms-spam")


def test_run_unregistered_component_with_a_taken_name_is_refused() -> None:
    with pytest.raises(clsbench.UsageError, match="class Majority, and its name 'majority' is"):
        dry_run(settings={"baselines": [Majority()]})


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Majority(), "Majority is not registered on the axis datasets"),
        (FruitTexts(count="x"), "count = 'x'"),  # type: ignore[arg-type]
    ],
)
def test_run_invalid_component_object_is_refused(component: Any, message: str) -> None:
    with pytest.raises(clsbench.UsageError, match=message):
        dry_run(dataset=component)


def typed_in(code: str, name: str, cell: str) -> Any:
    """An instance of a class that was typed into an interactive session."""
    names: dict[str, Any] = {"__name__": "typed_in"}
    sys.modules["typed_in"] = types.ModuleType("typed_in")
    exec(compile(code, cell, "exec"), names)
    return names[name]()


@pytest.fixture
def session() -> Iterator[None]:
    yield
    sys.modules.pop("typed_in", None)
    for name in [name for name in linecache.cache if name.startswith("<cell")]:
        del linecache.cache[name]


@pytest.mark.usefixtures("session")
def test_run_with_a_class_without_source_is_refused() -> None:
    odd = typed_in("import clsbench\nclass Odd(clsbench.Dataset):\n    pass\n", "Odd", "<stdin>")
    with pytest.raises(clsbench.PluginError, match=r"dataset Odd: the source of typed_in\.Odd"):
        dry_run(dataset=odd)


@pytest.mark.usefixtures("session")
def test_source_of_a_notebook_class_is_that_of_its_cell() -> None:
    sources = []
    for number, count in enumerate((1, 1, 2)):
        cell = f"<cell {number}>"
        code = "import clsbench\nclass Cell(clsbench.Dataset):\n"
        code += f"    def load(self, files):\n        return {count}\n"
        linecache.cache[cell] = (len(code), None, code.splitlines(keepends=True), cell)
        dataset = typed_in(code, "Cell", cell)
        catalog = with_instances({"dataset": dataset}, load_catalog())
        sources.append(catalog.entry("datasets", "cell").source_sha256)
    assert sources[0] == sources[1] != sources[2]


def test_run_refused_writes_no_files(tmp_path: Path) -> None:
    with pytest.raises(clsbench.UsageError):
        clsbench.run("gpt2-sms-spam", device="cuda:99", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def dry_run(**arguments: Any) -> clsbench.RunRecord:
    """A run that is planned without shortcuts, which take most of the time."""
    small: dict[str, Any] = {"dataset": "synthetic-sms:texts=100", "plain": True}
    return clsbench.run(
        "gpt2-sms-spam", offline=True, device="cpu", dry_run=True, **(small | arguments)
    )


def test_run_settings_change_options_of_a_named_component() -> None:
    record = dry_run(freezing="last-blocks", settings={"freezing.n": 2})
    assert record.spec["freezing"] == {"name": "last-blocks", "n": 2}


def test_run_with_a_method_records_only_its_parts() -> None:
    record = dry_run(method="lora")
    assert record.spec["freezing"]["name"] == "head-only"
    assert record.spec["adapter"]["name"] == "lora"
    assert "method" not in record.spec
    assert record.parameters is not None
    assert record.parameters.trained_stages == ("adapter", "head")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "lora", "adapter": "lora:r=4"}, "adapter cannot be combined with method"),
        (
            {"freezing": "all", "settings": {"freezing": "head-only"}},
            "freezing is set twice: to 'all' and to 'head-only'",
        ),
        ({"seed": 1, "settings": {"seed": 2}}, "seed is set twice: to 1 and to 2"),
        ({"out": ""}, "out = '': name a folder"),
        ({"assets": " "}, "assets = ' ': name a folder"),
        ({"threads": 99_999}, r"threads = 99999: expected at most \d+; this machine has \d+"),
    ],
)
def test_run_invalid_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        dry_run(**arguments)


def test_run_deterministic_restores_the_callers_warn_only_setting() -> None:
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        dry_run(deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
