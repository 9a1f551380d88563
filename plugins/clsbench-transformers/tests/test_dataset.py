"""The data set ``hf-dataset``: forms of files, splits, names of classes, bad input."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from clsbench_transformers.dataset import HFDataset
from clsbench_transformers.reading import read_corpus

import clsbench
from clsbench import HubFile, testing

TEXTS = ["see you", "win a prize", "at home", "call now"]
LABELS = [0, 1, 0, 1]
NAMES = datasets.ClassLabel(names=["ham", "spam"])
REVISION = "0123456789abcdef0123456789abcdef01234567"


def table(kind: Any = NAMES, **columns: Any) -> datasets.Dataset:
    columns = columns or {"text": TEXTS, "label": LABELS}
    features = {name: datasets.Value("string") for name in columns}
    last = list(columns)[-1]
    return datasets.Dataset.from_dict(columns, datasets.Features({**features, last: kind}))


def save_parquet(folder: Path) -> Path:
    table().to_parquet(folder / "texts.parquet")
    return folder / "texts.parquet"


def save_json(folder: Path) -> Path:
    rows = [
        {"text": text, "label": ("ham", "spam")[n]} for text, n in zip(TEXTS, LABELS, strict=True)
    ]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "texts.jsonl"


def save_to_disk(folder: Path) -> Path:
    table().save_to_disk(folder / "saved")
    return folder / "saved"


def save_arrow(folder: Path) -> Path:
    return next(save_to_disk(folder).glob("*.arrow"))


@pytest.mark.parametrize("save", [save_parquet, save_json, save_to_disk, save_arrow])
def test_load_reads_texts_labels_and_names(save: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset = HFDataset(path=str(save(tmp_path)))
    corpus = dataset.load({})
    assert list(corpus.texts) == TEXTS
    assert list(corpus.labels) == LABELS
    assert list(corpus.class_names) == ["ham", "spam"]
    assert corpus.splits is None
    assert dataset.default_split() == "stratified"
    testing.check_dataset(dataset)


def test_load_group_and_time_columns_fill_the_corpus_and_choose_the_split(tmp_path: Path) -> None:
    days = [datetime.datetime(2025, 11, day, 12) for day in (2, 1, 4, 3)]
    table().add_column("user", [7, 7, 8, 8]).add_column("date", days).to_parquet(
        tmp_path / "texts.parquet"
    )
    path = str(tmp_path / "texts.parquet")
    dataset = HFDataset(path=path, group="user", time="date")
    corpus = dataset.load({})
    assert corpus.groups == ["7", "7", "8", "8"]
    assert corpus.times is not None
    assert sorted(range(4), key=corpus.times.__getitem__) == [1, 0, 3, 2]
    assert dataset.default_split() == "group"
    assert HFDataset(path=path, time="date").default_split() == "time"
    testing.check_dataset(dataset)
    with pytest.raises(clsbench.UsageError, match="'see you' in 'text' is not a time"):
        read_corpus("x", [(None, Path(path))], "text", "label", time="text")


def test_load_of_files_named_after_splits_keeps_the_splits(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation", "test-00000"):
        table().to_parquet(tmp_path / "data" / f"{name}.parquet")
    dataset = HFDataset(path=str(tmp_path))
    assert dataset.default_split() == "predefined"
    corpus = dataset.load({})
    assert corpus.splits is not None
    assert list(corpus.splits) == ["test"] * 4 + ["train"] * 8 + ["validation"] * 4


def test_load_of_a_saved_dataset_dict_keeps_the_splits(tmp_path: Path) -> None:
    parts = {"train": table(), "test": table(), "validation": table()}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    corpus = HFDataset(path=str(tmp_path / "saved")).load({})
    assert corpus.splits is not None
    assert sorted(set(corpus.splits)) == ["test", "train", "validation"]


def test_load_of_folders_named_after_splits_keeps_the_splits(tmp_path: Path) -> None:
    for name in ("train", "test"):
        table().to_parquet(tmp_path / "default" / name / "0000.parquet")
    dataset = HFDataset(path=str(tmp_path))
    assert dataset.default_split() == "predefined"
    assert list(dataset.load({}).splits or ()) == ["test"] * 4 + ["train"] * 4


def test_load_of_a_saved_split_without_labels_leaves_it_out(tmp_path: Path) -> None:
    unlabelled = table(text=TEXTS, label=[-1] * 4)
    parts = {"train": table(), "test": table(), "unsupervised": unlabelled}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    dataset = HFDataset(path=str(tmp_path / "saved"))
    assert dataset.default_split() == "predefined"
    assert list(dataset.load({}).splits or ()) == ["test"] * 4 + ["train"] * 4


def test_load_of_a_folder_leaves_out_hidden_files_and_descriptions(tmp_path: Path) -> None:
    for name in ("train", "test"):
        table().to_parquet(tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "data" / "._train.parquet").write_bytes(b"of the file system")
    table().to_parquet(tmp_path / ".cache" / "train.parquet")
    dataset = HFDataset(path=str(tmp_path))
    assert dataset.default_split() == "predefined"
    assert list(dataset.load({}).splits or ()) == ["test"] * 4 + ["train"] * 4


def test_load_of_a_labelled_file_outside_the_splits_is_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "extra"):
        table().to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(clsbench.UsageError, match=r"extra\.parquet belongs to no split"):
        HFDataset(path=str(tmp_path)).load({})


def test_load_columns_are_options_and_unlabelled_rows_are_left_out(tmp_path: Path) -> None:
    columns = {"title": ["x"] * 4, "body": TEXTS, "topic": [1, -1, 0, 1]}
    table(**columns).to_parquet(tmp_path / "a.parquet")
    dataset = HFDataset(path=str(tmp_path / "a.parquet"), text="body", label="topic")
    corpus = dataset.load({})
    assert list(corpus.texts) == [TEXTS[0], *TEXTS[2:]]
    assert list(corpus.labels) == [1, 0, 1]


def test_load_numbers_without_names_are_ordered_by_value(tmp_path: Path) -> None:
    columns = {"text": TEXTS, "label": [10, 2, 10, 2]}
    table(datasets.Value("int64"), **columns).to_parquet(tmp_path / "a.parquet")
    corpus = HFDataset(path=str(tmp_path / "a.parquet")).load({})
    assert list(corpus.class_names) == ["2", "10"]
    assert list(corpus.labels) == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("columns", "label", "said"),
    [
        ({"body": TEXTS, "label": LABELS}, NAMES, "has no column 'text'; its columns: body, label"),
        ({"text": ["a", " ", "b", "c"], "label": LABELS}, NAMES, r"row 1 of a\.parquet .* no text"),
        ({"text": TEXTS, "label": [0, None, 1, 0]}, NAMES, r"row 1 of .* no label in 'label'"),
        ({"text": TEXTS, "label": [1, 1, 1, 1]}, datasets.Value("int64"), "the same label"),
        ({"text": TEXTS, "label": [0.5, 1, 0, 1]}, datasets.Value("float64"), "float values"),
        ({"text": TEXTS, "label": [b"a", b"b"] * 2}, datasets.Value("binary"), "bytes values"),
    ],
)
def test_load_unusable_columns_are_refused(
    columns: dict[str, Any], label: Any, said: str, tmp_path: Path
) -> None:
    table(label, **columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(clsbench.UsageError, match=said):
        HFDataset(path=str(tmp_path / "a.parquet")).load({})


def test_load_text_pairs_are_read_and_empty_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def load(seconds: list[Any], column: str = "other") -> clsbench.Corpus:
        columns = {"text": TEXTS, "other": seconds, "label": LABELS}
        datasets.Dataset.from_dict(columns).to_parquet(path)
        return HFDataset(path=str(path), text_pair=column).load({})

    assert load(["w", "x", "y", "z"]).text_pairs == ["w", "x", "y", "z"]
    with pytest.raises(clsbench.UsageError, match="no column 'others'; its columns"):
        load(TEXTS, "others")
    for bad in (["w", " ", "y", "z"], ["w", None, "y", "z"], [1, 2, 3, 4]):
        with pytest.raises(clsbench.UsageError, match="has no text in 'other'"):
            load(bad)


def test_load_of_a_file_without_labels_and_class_names_is_refused(tmp_path: Path) -> None:
    for name, labels in (("train", [-1, 0, 1, 0]), ("test", [-1] * 4)):
        columns = {"text": TEXTS, "label": labels}
        table(datasets.Value("int64"), **columns).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(clsbench.UsageError, match=r"every row of test\.parquet has the label -1"):
        HFDataset(path=str(tmp_path)).load({})
    (tmp_path / "test.parquet").unlink()  # beside other labels, -1 is a class
    assert HFDataset(path=str(tmp_path)).load({}).class_names == ("-1", "0", "1")


def test_load_damaged_and_unknown_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(20))
    with pytest.raises(clsbench.UsageError, match=r"a\.parquet cannot be read"):
        HFDataset(path=str(tmp_path / "a.parquet")).load({})
    (tmp_path / "b.txt").write_text("text")
    for place in (tmp_path / "b.txt", tmp_path / "none"):
        with pytest.raises(clsbench.UsageError, match="expected a folder that save_to_disk"):
            HFDataset(path=str(place)).load({})


def test_files_with_other_class_names_are_refused(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "train.parquet")
    table(datasets.ClassLabel(names=["spam", "ham"])).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(clsbench.UsageError, match="names other classes"):
        HFDataset(path=str(tmp_path)).load({})


def test_name_on_the_hub_is_pinned_and_read_from_its_files(tmp_path: Path) -> None:
    names = ("data/train-0.parquet", "data/test-0.parquet")
    dataset = HFDataset(path="some-org/texts", revision=REVISION, files=names)
    assert dataset.default_split() == "predefined"
    assets = dataset.assets()
    assert [asset.sources for asset in assets] == [
        (HubFile("some-org/texts", name, REVISION, kind="dataset"),) for name in names
    ]
    file = save_parquet(tmp_path)
    corpus = dataset.load({asset.key: file for asset in assets})
    assert corpus.splits is not None
    assert list(corpus.splits) == ["train"] * 4 + ["test"] * 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "a/b", "revision": REVISION}, "needs both revision=COMMIT and files"),
        ({"path": "a/b", "files": ("c.parquet",)}, "needs both revision=COMMIT and files"),
        ({"path": "a", "revision": REVISION, "files": ("c",)}, "expected path=ORGANISATION/NAME"),
        ({"path": "a", "text": "x", "label": "x"}, "the same column"),
        ({"path": "a", "text_pair": "text"}, "the same column"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HFDataset(**options)


def test_read_corpus_leaves_the_cache_of_datasets_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    read_corpus("here", [(None, save_parquet(tmp_path))], "text", "label")
    assert not (tmp_path / "cache").exists()
