"""The files that a user named are checked before anything else; what is said of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

import clsbench


def test_a_file_that_is_not_there_is_told_with_its_component(tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    with pytest.raises(clsbench.UsageError, match=r"^dataset 'csv': there is no file .*missing"):
        clsbench.run(
            "gpt2-sms-spam", dataset=f"csv:path={missing}", out=tmp_path / "runs", offline=True
        )


PLUGIN = """
import clsbench

class Loose(clsbench.Dataset):
    "A data set that keeps no promise."

    fault: str = ""

    def load(self, files, quoting):
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
        }
        match self.fault:
            case "raises":
                raise KeyError("column")
            case "refuses":
                raise clsbench.UsageError("the words of the plugin")
            case "none":
                return None
        return clsbench.Corpus(**{**rows, **changes.get(self.fault, {})})

class Unwritten(clsbench.Dataset):
    "A data set whose author forgot to load it."

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
    )


def test_a_sound_dataset_of_a_plugin_is_taken(tmp_path: Path) -> None:
    data = prepare(tmp_path, "loose").data
    assert data is not None
    assert data.corpus_texts == 300


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "failed to load: KeyError: 'column'"),
        ("none", "load() gives NoneType, expected a clsbench.Corpus"),
        ("short", "300 texts stand against 290 labels"),
        ("label", "label 299 is 7, expected an index into ('ham', 'spam')"),
        ("words", "label 0 is 'ham', expected an index"),
        ("text", "text 299 is int"),
        ("generator", "its texts are generator, expected a list"),
        ("surrogate", "text 299 cannot be written in UTF-8"),
        ("names", "two classes share a name"),
        ("numbers", "the class name 0 is int"),
        ("splits", "splits has another length than texts: 290, 300"),
        ("strange", "splits holds ['dev'], expected train, validation, test"),
    ],
)
def test_a_dataset_that_breaks_its_promise_is_named(tmp_path: Path, fault: str, said: str) -> None:
    with pytest.raises(clsbench.PluginError) as caught:
        prepare(tmp_path, f"loose:fault={fault}")
    assert f"dataset loose:fault={fault}" in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_dataset_that_cannot_load_at_all_is_told_which_method(tmp_path: Path) -> None:
    with pytest.raises(clsbench.PluginError, match=r"class Unwritten has no method load\(\)"):
        prepare(tmp_path, "unwritten")


def test_what_a_dataset_says_itself_is_left_alone(tmp_path: Path) -> None:
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
    )


def test_balancing_says_how_many_texts_of_each_class_it_drops(tmp_path: Path) -> None:
    counts = {"billing": 60, "other": 25, "technical": 40}
    data = own_file(tmp_path, counts).data
    assert data is not None
    assert (data.dropped, sum(data.sizes.values())) == ({}, 125)
    data = own_file(tmp_path, counts, data__balance=True).data
    assert data is not None
    assert (data.dropped, sum(data.sizes.values())) == ({"billing": 35, "technical": 15}, 75)


def test_what_looks_wrong_with_the_data_stands_in_the_record_and_the_log(
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
def test_an_ignored_index_that_is_no_class_is_not_warned_of(tmp_path: Path, index: int) -> None:
    assert own_file(tmp_path, {"a": 30, "b": 30}, train__ignore_index=index).warnings == ()
