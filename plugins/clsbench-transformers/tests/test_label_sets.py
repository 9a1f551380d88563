"""The data set ``hf-dataset`` with any number of labels per text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from clsbench_transformers.dataset import HFDataset

import clsbench
from clsbench import testing

TEXTS = ["see you", "win a prize", "at home", "call now"]
NAMES = datasets.ClassLabel(names=["work", "spam", "home"])


def save(folder: Path, columns: dict[str, Any], kind: Any = None) -> str:
    table = datasets.Dataset.from_dict({"text": TEXTS, **columns})
    if kind is not None:
        table = table.cast_column("topics", kind)
    table.to_parquet(folder / "texts.parquet")
    return str(folder / "texts.parquet")


def test_load_lists_of_class_labels_are_read_with_their_names(tmp_path: Path) -> None:
    lists = [[2, 0], [1], [], [0, 1]]
    path = save(tmp_path, {"topics": lists}, datasets.Sequence(NAMES))
    dataset = HFDataset(path=path, labels="topics")
    corpus = dataset.load({})
    assert dataset.task() == "multi-label"
    assert corpus.multi_label
    assert corpus.class_names == ("work", "spam", "home")
    assert corpus.labels == [(0, 2), (1,), (), (0, 1)]
    testing.check_dataset(dataset)


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ([["b", "a"], ["b"], [], ["a"]], ("a", "b")),
        ([[10, 2], [10], [], [2]], ("2", "10")),
    ],
)
def test_load_lists_of_other_values_are_read_in_their_order(
    lists: list[Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = HFDataset(path=save(tmp_path, {"topics": lists}), labels="topics").load({})
    assert corpus.class_names == names
    assert corpus.labels == [(0, 1), (1,), (), (0,)]


def test_load_columns_of_zeros_and_ones_are_read(tmp_path: Path) -> None:
    columns = {"toxic": [1, 0, 0, 1], "rude": [True, False, True, False], "mild": [0.0, 1, 0, 0]}
    dataset = HFDataset(path=save(tmp_path, columns), labels="toxic+rude+mild")
    corpus = dataset.load({})
    assert corpus.class_names == ("toxic", "rude", "mild")
    assert corpus.labels == [(0, 1), (2,), (1,), (0,)]
    testing.check_dataset(dataset)


@pytest.mark.parametrize(
    ("columns", "labels", "said"),
    [
        ({"a": [1, 0, 1, 0], "b": [0, 2, 0, 0]}, "a+b", r"row 1 .* has '2' in 'b', expected 0 or"),
        ({"a": [1, 0, 1, 0], "b": [0, None, 0, 0]}, "a+b", r"row 1 .* has 'None' in 'b'"),
        ({"a": [1, 0, 1, 0]}, "a+c", "has no column 'c'; its columns: text, a"),
        ({"t": ["u", "v", "u", "v"]}, "t", "row 0 .* has 'u' in 't', expected a list"),
        ({"t": [["u"], None, ["v"], []]}, "t", "row 1 .* has 'None' in 't', expected a list"),
        ({"t": [[0.0, 1.0]] * 4}, "t", r"row 0 .* has '\[0.0, 1.0\]' in 't', expected a list"),
        ({"t": [["u"], ["v", "v"], [], []]}, "t", "row 1 .* has the same label twice in 't'"),
        ({"t": [["u"], ["u"], [], []]}, "t", "fewer than two different labels in 't'"),
        ({"t": [["u|v"], ["w"], [], []]}, "t", r"the label 'u\|v' in 't' .* contains '\|'"),
    ],
)
def test_load_labels_that_cannot_be_used_are_named(
    columns: dict[str, Any], labels: str, said: str, tmp_path: Path
) -> None:
    path = save(tmp_path, columns)
    with pytest.raises(clsbench.UsageError, match=said):
        HFDataset(path=path, labels=labels).load({})


def test_load_of_lists_as_one_class_names_the_option_for_lists(tmp_path: Path) -> None:
    path = save(tmp_path, {"label": [["u"], ["v"], [], ["u"]]})
    with pytest.raises(clsbench.UsageError, match="name the column of lists with labels="):
        HFDataset(path=path).load({})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "a", "labels": "b"}, "label and labels exclude each other"),
        ({"labels": "text+b"}, "two name the same column"),
        ({"labels": "a+"}, "one is empty"),
    ],
)
def test_labels_that_contradict_other_options_are_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        HFDataset(path="a", **options)
