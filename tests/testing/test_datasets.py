"""``check_dataset``: what it accepts and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from broken_components import complaint

import clsbench
from clsbench import testing
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.data import TableFormat


class DatasetUnderTest(clsbench.Dataset, frozen=True):
    """Three texts, with one fault to choose."""

    fault: str = ""

    def assets(self) -> tuple[clsbench.Asset, ...]:
        web = (clsbench.WebFile(url="https://example.org/x"),)
        match self.fault:
            case "unpinned":
                return (clsbench.Asset(key="a/b", sources=web, sha256=None),)
            case "hash":
                return (clsbench.Asset(key="a/b", sources=web, sha256="abc"),)
            case "climbs":
                return (clsbench.Asset(key="../b", sources=web, sha256="0" * 64),)
            case "sourceless":
                return (clsbench.Asset(key="a/b", sources=(), sha256="0" * 64),)
            case "needs-files":
                return (clsbench.Asset(key="a/b", sources=web, sha256="0" * 64),)
        return ()

    def default_split(self) -> clsbench.SplitName:
        splits: dict[str, Any] = {
            "split-name": "halves",
            "split-predefined": "predefined",
            "split-group": "group",
            "split-time": "time",
        }
        return splits.get(self.fault, "stratified")  # type: ignore[no-any-return]

    def default_balance(self) -> bool:
        return "yes" if self.fault == "balance" else False  # type: ignore[return-value]

    def stand_in(self) -> clsbench.Dataset | None:
        return DatasetUnderTest("needs-files") if self.fault == "stand-in" else None

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        corpora: dict[str, dict[str, Any]] = {
            "one-class": {"class_names": ("a",), "labels": [0, 0, 0]},
            "same-name": {"class_names": ("a", "a")},
            "unused": {"class_names": ("a", "b", "c")},
            "short": {"labels": [0, 1]},
            "blank": {"texts": ["x", " ", "z"]},
            "surrogate": {"texts": ["x", "\ud800", "z"]},
            "number": {"texts": ["x", 7, "z"]},
            "label": {"labels": [0, 1, 2]},
            "splits": {"splits": ["train", "test", "held-out"]},
            "few-splits": {"splits": ["train", "test"]},
            "few-pairs": {"text_pairs": ["one", "two"]},
            "blank-pair": {"text_pairs": ["one", " ", "three"]},
            "changing-pairs": {"text_pairs": ["one", "two", str(torch.rand(1))]},
            "few-groups": {"groups": ["one", "two"]},
            "few-times": {"times": [1, 2]},
            "changing-groups": {"groups": ["one", "two", str(torch.rand(1))]},
            "changing": {"texts": ["x", str(id(object())), str(torch.rand(1))]},
        }
        plain = {"class_names": ("a", "b"), "texts": ["x", "y", "z"], "labels": [0, 1, 0]}
        return clsbench.Corpus(**{**plain, **corpora.get(self.fault, {})})


def test_check_dataset_valid_dataset_passes() -> None:
    testing.check_dataset(DatasetUnderTest())


class FileUnderTest(DelimitedFile, frozen=True):
    """A file of the user that is read in another format than predictions would be."""

    other: str = ""

    def table_format(self) -> TableFormat:
        return TableFormat(text=self.other) if self.other else "csv"  # type: ignore

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        return DelimitedFile(path=self.path).load(files)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("", "returns str, expected a clsbench.data.TableFormat"),
        ("id", "contains different texts than load"),
        ("body", "column 'body' not found"),
    ],
)
def test_check_dataset_wrong_table_format_fails(other: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("id,text,label\n1,a,x\n2,b,y\n3,c,y\n")
    testing.check_dataset(DelimitedFile(path=str(file)))
    with pytest.raises(AssertionError, match=said):
        testing.check_dataset(FileUnderTest(path=str(file), other=other))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("split-name", "default_split() returns 'halves', expected one of"),
        ("split-predefined", "default_split() returns 'predefined', but its corpus has no splits"),
        ("split-group", "default_split() returns 'group', but its corpus has no groups"),
        ("split-time", "default_split() returns 'time', but its corpus has no times"),
        ("few-pairs", "3 texts but 2 text_pairs"),
        ("blank-pair", "text pair 1 is blank"),
        ("changing-pairs", "different texts"),
        ("few-groups", "3 texts but 2 groups"),
        ("few-times", "3 texts but 2 times"),
        ("changing-groups", "different texts"),
        ("balance", "default_balance() returns 'yes', expected True or False"),
        ("one-class", "two are needed"),
        ("same-name", "share a name"),
        ("unused", "no text belongs to ['c']"),
        ("short", "3 texts but 2 labels"),
        ("blank", "text 1 is blank"),
        ("surrogate", "cannot be written in UTF-8"),
        ("number", "text 1 is int"),
        ("label", "label 2 is 2"),
        ("splits", "held-out"),
        ("few-splits", "splits"),
        ("changing", "different texts"),
        ("unpinned", "no sha256"),
        ("hash", "not a hexadecimal SHA-256"),
        ("climbs", "not a relative path"),
        ("sourceless", "no source"),
        ("needs-files", "files lacks ['a/b']"),
        ("stand-in", "needs assets itself"),
    ],
)
def test_check_dataset_broken_dataset_fails(fault: str, said: str) -> None:
    assert said in complaint(DatasetUnderTest(fault))
