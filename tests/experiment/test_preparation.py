"""Checks of the user's files, and warnings about the data."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest
from record_examples import make_record

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.experiment.predict import load_predictor
from clsbench.experiment.preparation import stored_experiment, stored_spec, texts_of
from clsbench.schema.options import RunOptions
from clsbench.schema.record import ComponentIdentity


def test_run_missing_user_file_error_names_the_component(tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    with pytest.raises(clsbench.UsageError, match=r"^dataset 'csv': no such file: .*missing"):
        clsbench.run(
            "gpt2-sms-spam", dataset=f"csv:path={missing}", out=tmp_path / "runs", offline=True
        )


def test_run_experiment_with_stand_ins_uses_and_records_them(tmp_path: Path) -> None:
    record = clsbench.run(
        "own-texts", dataset="synthetic-sms:texts=200", out=tmp_path / "runs", dry_run=True
    )
    (stand_in,) = record.stand_ins
    assert (stand_in.axis, stand_in.by.partition(":")[0]) == ("backbone", "gpt2-nano")
    assert stand_in.reason == "unless --backbone names another"
    assert record.spec["backbone"]["name"] == "gpt2-nano"
    assert "stand_ins" not in record.spec


PLUGIN = """
import clsbench

class Loose(clsbench.Dataset):
    "A data set with a fault to choose."

    fault: str = ""

    def load(self, files):
        rows = {"class_names": ("ham", "spam"), "texts": [str(n) for n in range(300)]}
        rows["labels"] = [n % 2 for n in range(300)]
        changes = {
            "short": {"labels": rows["labels"][:290]},
            "label": {"labels": [*rows["labels"][:-1], 7]},
            "words": {"labels": ["ham", "spam"] * 150},
            "text": {"texts": [*rows["texts"][:-1], 8]},
            "generator": {"texts": (text for text in rows["texts"])},
            "surrogate": {"texts": [*rows["texts"][:-1], "\\ud800"]},
            "names": {"class_names": ("ham", "ham")},
            "numbers": {"class_names": (0, 1)},
            "splits": {"splits": ["train"] * 290},
            "strange": {"splits": ["dev"] * 300},
            "groups": {"groups": ["one"] * 290},
            "group": {"groups": [7] * 300},
            "times": {"times": [1.0] * 290},
            "time": {"times": [*[1.0] * 299, float("nan")]},
        }
        match self.fault:
            case "raises":
                raise KeyError("column")
            case "refuses":
                raise clsbench.UsageError("the words of the plugin")
            case "none":
                return None
        return clsbench.Corpus(**{**rows, **changes.get(self.fault, {})})

    def user_file_warnings(self):
        return ("its second column is not used",) if self.fault == "column" else ()

class Unwritten(clsbench.Dataset):
    "A data set without load()."

@clsbench.hookimpl
def clsbench_register_datasets():
    return {"loose": Loose, "unwritten": Unwritten}
"""


def prepare(folder: Path, dataset: str) -> clsbench.RunRecord:
    plugin = folder / "loose.py"
    plugin.write_text(PLUGIN)
    return clsbench.run(
        "gpt2-sms-spam",
        dataset=dataset,
        backbone="gpt2-nano",
        plugins=[str(plugin)],
        out=folder / "runs",
        offline=True,
        dry_run=True,
        plain=True,  # shortcuts are not planned, which takes most of the time
    )


def test_run_valid_plugin_dataset_is_loaded(tmp_path: Path) -> None:
    data = prepare(tmp_path, "loose").data
    assert data is not None
    assert data.corpus_texts == 300


def test_run_unused_content_of_a_user_file_is_recorded_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = prepare(tmp_path, "loose:fault=column")
    assert record.warnings == ("dataset 'loose': its second column is not used",)
    assert record.warnings[0] in caplog.text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "failed to load: KeyError: 'column'"),
        ("none", "load() returns NoneType, expected a clsbench.Corpus"),
        ("short", "300 texts but 290 labels"),
        ("label", "label 299 is 7, expected an index into ('ham', 'spam')"),
        ("words", "label 0 is 'ham', expected an index"),
        ("text", "text 299 is int"),
        ("generator", "its texts are generator, expected a list"),
        ("surrogate", "text 299 cannot be written in UTF-8"),
        ("names", "two classes share a name"),
        ("numbers", "the class name 0 is int"),
        ("splits", "300 texts but 290 splits"),
        ("strange", "splits contains ['dev'], expected train, validation, test"),
        ("groups", "300 texts but 290 groups"),
        ("group", "group 0 is int, expected text"),
        ("times", "300 texts but 290 times"),
        ("time", "time 299 is nan, expected a finite number"),
    ],
)
def test_run_invalid_plugin_dataset_is_named(tmp_path: Path, fault: str, said: str) -> None:
    with pytest.raises(clsbench.PluginError) as caught:
        prepare(tmp_path, f"loose:fault={fault}")
    assert f"dataset loose:fault={fault}" in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_run_plugin_dataset_without_load_is_refused(tmp_path: Path) -> None:
    with pytest.raises(clsbench.PluginError, match=r"class Unwritten has no method load\(\)"):
        prepare(tmp_path, "unwritten")


def test_run_usage_error_of_a_plugin_dataset_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(clsbench.UsageError, match=r"^the words of the plugin$"):
        prepare(tmp_path, "loose:fault=refuses")


def own_file(folder: Path, counts: dict[str, int], **settings: object) -> clsbench.RunRecord:
    file = folder / "own.csv"
    labels = [label for label, n in counts.items() for _ in range(n)]
    rows = [f'number {i},"{label}"' for i, label in enumerate(labels)]
    file.write_text("\n".join(["text,label", *rows]))
    return clsbench.run(
        "gpt2-sms-spam",
        dataset=f"csv:path={file}",
        backbone="gpt2-nano",
        settings={key.replace("__", "."): value for key, value in settings.items()},
        out=folder / "runs",
        dry_run=True,
        plain=True,
    )


def test_run_balancing_records_dropped_texts_by_class(tmp_path: Path) -> None:
    counts = {"billing": 60, "other": 25, "technical": 40}
    data = own_file(tmp_path, counts).data
    assert data is not None
    assert (data.dropped, sum(data.sizes.values())) == ({}, 125)
    data = own_file(tmp_path, counts, data__balance=True).data
    assert data is not None
    assert (data.dropped, sum(data.sizes.values())) == ({"billing": 35, "technical": 15}, 75)


def test_run_batch_larger_than_balanced_train_split_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(
        clsbench.UsageError,
        match=r"^train.batch_size = 60 is larger than the training split of 51 texts; "
        r"data.balance=true left out 50 texts of the corpus$",
    ):
        own_file(tmp_path, {"a": 60, "b": 25, "c": 40}, data__balance=True, train__batch_size=60)


def test_run_train_size_leaves_validation_test_and_width(tmp_path: Path) -> None:
    counts = {"billing": 60, "other": 30, "technical": 40}
    whole, part = (own_file(tmp_path, counts, **s).data for s in ({}, {"data__train_size": 13}))
    assert whole is not None
    assert part is not None
    assert part.sizes == {**whole.sizes, "train": 13}
    assert part.class_counts["train"] == {"billing": 6, "other": 3, "technical": 4}
    assert (part.max_length, part.dropped) == (whole.max_length, {})
    for split in ("validation", "test"):
        assert part.texts_sha256[split] == whole.texts_sha256[split]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (99, r"data\.train_size = 99 is larger than the training split of 91 texts"),
        (2, r"data\.train_size = 2 is smaller than the number of classes"),
        (5, r"train\.batch_size = 8 is larger than the training split of 5 texts that "
            r"data\.train_size selects; train\.batch_size=5 uses all of them"),
    ],
)  # fmt: skip
def test_run_impossible_train_size_is_refused(tmp_path: Path, size: int, said: str) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        own_file(tmp_path, {"a": 60, "b": 30, "c": 40}, data__train_size=size)


def test_run_data_warnings_are_recorded_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"ham": 40, "Ham": 6, "N/A": 5, "odd": 2}
    record = own_file(tmp_path, counts, train__ignore_index=3)
    parts = (
        "'ham' (40)",
        "'N/A' (5 texts)",
        "1 of 4 classes",
        "validation split (6 texts) lacks class 'odd'",
        "train.ignore_index=3 leaves class 'odd' (1 of 36 training texts) out",
    )
    assert len(record.warnings) == len(parts)
    for part, warning in zip(parts, record.warnings, strict=True):
        assert part in warning
        assert caplog.text.count(warning) == 1


@pytest.mark.parametrize("index", [-100, 2, 50256])
def test_run_ignore_index_beyond_the_classes_does_not_warn(tmp_path: Path, index: int) -> None:
    assert own_file(tmp_path, {"a": 30, "b": 30}, train__ignore_index=index).warnings == ()


def test_stored_spec_relative_paths_use_the_runs_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    file = tmp_path / "one" / "own.csv"
    file.write_text("text,label\n" + "".join(f"number {i},{i % 2}\n" for i in range(60)))
    monkeypatch.chdir(tmp_path / "one")
    record = clsbench.run(
        "gpt2-sms-spam", dataset="csv:path=own.csv", backbone="gpt2-nano", dry_run=True, plain=True
    )
    assert record.working_directory == str(tmp_path / "one")
    assert record.spec["dataset"]["path"] == "own.csv"
    texts = texts_of(record, RunOptions(), load_catalog())
    monkeypatch.chdir(tmp_path / "other")
    assert texts is not None
    assert texts_of(record, RunOptions(), load_catalog()) == texts
    # A file of the same name in the current directory is not the run's.
    (tmp_path / "other" / "own.csv").write_text("text,label\na,b\nc,d\n")
    assert texts_of(record, RunOptions(), load_catalog()) == texts
    (tmp_path / "other" / "own.csv").unlink()
    content = file.rename(tmp_path / "elsewhere.csv")
    with caplog.at_level(logging.INFO, logger="clsbench"):
        assert texts_of(record, RunOptions(), load_catalog()) is None
    assert f"{file}: no such file" in caplog.text
    (tmp_path / "one").rename(tmp_path / "moved")
    content.rename(tmp_path / "moved" / "own.csv")
    monkeypatch.chdir(tmp_path / "moved")
    assert texts_of(record, RunOptions(), load_catalog()) == texts


def test_texts_of_run_needs_only_files_of_the_dataset(tmp_path: Path) -> None:
    record = own_file(tmp_path, {"a": 30, "b": 30})
    gpt2 = {"name": "gpt2", "size": "small", "weights": str(tmp_path / "gone"), "causal": True}
    record = msgspec.structs.replace(record, spec={**record.spec, "backbone": gpt2})
    texts = texts_of(record, RunOptions(), load_catalog())
    assert texts is not None
    assert len(texts) == 60


def test_texts_of_run_with_changed_data_is_none_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = own_file(tmp_path, {"a": 30, "b": 30})
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    with caplog.at_level(logging.INFO, logger="clsbench"):
        assert texts_of(record, RunOptions(), load_catalog()) is None
    assert "its data set has changed since" in caplog.text


def test_stored_spec_only_user_file_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("checkpoint", "linear", "small"):
        (tmp_path / name).touch()
    record = make_record()
    table = {"name": "gpt2", "size": "small", "weights": "checkpoint", "causal": True}
    identity = ComponentIdentity(
        axis="backbone",
        component="gpt2",
        distribution="clsbench",
        version="1",
        files={"checkpoint": "ab" * 32},
    )
    record = msgspec.structs.replace(
        record,
        spec={**record.spec, "backbone": table},
        plugins=(identity,),
        working_directory=str(tmp_path),
    )
    changed = {**table, "weights": str(tmp_path / "checkpoint")}
    assert stored_spec(record).backbone == changed
    assert stored_spec(record).head == record.spec["head"]
    same_text = {**table, "weights": "small"}  # equals the value of another option
    in_small = msgspec.structs.replace(identity, files={"small": "ab" * 32})
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        there = msgspec.structs.replace(
            record, spec={**record.spec, "backbone": same_text}, plugins=(in_small,)
        )
        assert stored_spec(there).backbone == same_text
    older = msgspec.structs.replace(record, working_directory=None)
    assert stored_spec(older).backbone == table
    moved = msgspec.structs.replace(record, working_directory=str(tmp_path / "gone"))
    assert stored_spec(moved).backbone == {**table, "weights": str(tmp_path / "gone/checkpoint")}
    monkeypatch.chdir(tmp_path)
    assert stored_spec(moved).backbone == table


def test_stored_experiment_unknown_kind_of_component_is_refused() -> None:
    identity = ComponentIdentity(axis="\0", component="x", distribution="x", version=None)
    record = msgspec.structs.replace(make_record(), plugins=(identity,))
    with pytest.raises(clsbench.UsageError, match="unknown kind of component"):
        stored_experiment(record, load_catalog())


SHAPED = """
import msgspec
import clsbench
from clsbench import testing

class Shaped(testing.MiniatureBackbone, frozen=True):
    "A backbone whose number of blocks is in an asset."

    def assets(self):
        source = clsbench.WebFile("https://example.invalid/blocks.txt")
        sha256 = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"
        return (clsbench.Asset(key="shape/blocks.txt", sources=(source,), sha256=sha256),)

    def with_files(self, files):
        return msgspec.structs.replace(self, blocks=int(files["shape/blocks.txt"].read_text()))

@clsbench.hookimpl
def clsbench_register_backbones():
    return {"shaped": Shaped}
"""


def test_run_backbone_with_its_shape_in_an_asset_gets_its_files(tmp_path: Path) -> None:
    plugin, file = tmp_path / "shaped.py", tmp_path / "assets" / "shape" / "blocks.txt"
    plugin.write_text(SHAPED)
    file.parent.mkdir(parents=True)
    file.write_text("2")
    record = clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms:texts=100",
        backbone="shaped",
        plugins=[str(plugin)],
        settings={"data.padding": 24, "train.epochs": 1, "baselines": []},
        out=tmp_path / "runs",
        assets=tmp_path / "assets",
        offline=True,
    )
    assert record.parameters is not None
    assert "block.1" in record.parameters.trained_stages
    assert record.spec["backbone"]["blocks"] == 3
    options = RunOptions(device="cpu", offline=True, assets=tmp_path / "assets")
    (path,) = (tmp_path / "runs").iterdir()
    predictor = load_predictor(path, options, load_catalog([str(plugin)]))
    assert predictor.predict(["a text"]).shape == (1, 2)
