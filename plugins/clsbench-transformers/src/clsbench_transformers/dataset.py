"""The data set ``hf-dataset``: files that the library datasets reads."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

import clsbench
from clsbench import Asset, HubFile, UsageError
from clsbench.data import GroupColumn, TextPairColumn, TimeColumn, split_named

ENDINGS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "json",
    ".jsonl": "json",
}
"""The files that are read, by the name of their format in datasets."""

_DESCRIPTIONS = ("config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json")


class HFDataset(clsbench.Dataset, frozen=True):
    """Labelled texts in Parquet, Arrow or JSON files, read by the library datasets.

    ``path`` is a folder or file: what save_to_disk has written, or files whose names begin with
    train, validation or test, or stand in such folders. With revision and files, path is the name
    of a data set of the hub. Labels are texts or numbers; a ClassLabel column names the classes in
    its order, and its rows without a label (-1) are left out. In another column -1 is a class like
    others, unless a file holds nothing else, which is refused.
    """

    libraries: ClassVar[tuple[str, ...]] = ("datasets",)

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="a folder, or a .parquet, .arrow, .json or .jsonl file; with revision, a"
            " data set of the hub",
        ),
    ]
    revision: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{40})?\Z",
            description="its commit on the hub (40 digits, from its list of commits)",
        ),
    ] = ""
    files: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^/\\]+(/[^/\\]+)*\Z")], ...],
        Meta(description="its files on the hub, by their path in the repository"),
    ] = ()
    text: Annotated[str, Meta(min_length=1, description="column with the texts")] = "text"
    text_pair: TextPairColumn | None = None
    label: Annotated[str, Meta(min_length=1, description="column with the classes")] = "label"
    labels: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="instead of label, for any number of labels per text: column with"
                " lists, or several columns with 0 or 1 (toxic+rude+spam)",
            ),
        ]
        | None
    ) = None
    group: GroupColumn | None = None
    time: TimeColumn | None = None

    def __post_init__(self) -> None:
        """Check that the options belong together.

        Raises:
            ValueError: they do not.
        """
        if bool(self.revision) != bool(self.files):
            raise ValueError(
                "a data set of the hub needs both revision=COMMIT and files=[…], which pin its "
                "content"
            )
        if self.revision and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.path):
            raise ValueError(
                f"revision = {self.revision!r}: expected path=ORGANISATION/NAME of the hub, not "
                f"{self.path!r}"
            )
        if self.labels is not None and self.label != "label":
            raise ValueError("label and labels exclude each other; labels is for any number of "
                             "labels per text")  # fmt: skip
        classes = [self.label] if self.labels is None else label_columns(self.labels)
        named = (self.text, self.text_pair, *classes, self.group, self.time)
        columns = [each for each in named if each is not None]
        if len(set(columns)) < len(columns) or "" in columns:
            raise ValueError(
                "text, text_pair, label, labels, group and time: two name the same column, or one "
                "is empty"
            )

    def task(self) -> clsbench.Task:
        """``multi-label`` if ``labels`` is set."""
        return "single-label" if self.labels is None else "multi-label"

    def default_split(self) -> clsbench.SplitName:
        """``group`` or ``time`` if their column is named, else ``predefined`` if the data set has a
        training and a test split."""
        if self.group is not None:
            return "group"
        if self.time is not None:
            return "time"
        if self.revision:
            names = {_split_of(Path(file)) for file in self.files}
        else:
            try:
                names = {split for split, _ in _places(_path(self.path))}
            except UsageError:
                names = set()  # the run reports it
        return "predefined" if {"train", "test"} <= names else "stratified"

    def assets(self) -> tuple[Asset, ...]:
        """The files of a data set on the hub, pinned by the revision."""
        return tuple(
            Asset(
                key=f"{self.path}/{file}",
                sources=(HubFile(self.path, file, self.revision, kind="dataset"),),
                sha256=None,
            )
            for file in self.files
        )

    def user_files(self) -> tuple[Path, ...]:
        """The folder or file."""
        return () if self.revision else (_path(self.path),)

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        """Read all files.

        Raises:
            UsageError: a file or column is missing or not valid.
        """
        from clsbench_transformers.reading import read_corpus

        if self.revision:
            places = [(_split_of(Path(file)), files[f"{self.path}/{file}"]) for file in self.files]
        else:
            places = _places(_path(self.path))
        columns = (self.text, self.label, self.group, self.time, self.text_pair, self.labels)
        return read_corpus(self.path, places, *columns)


def label_columns(labels: str) -> list[str]:
    """The columns that the option ``labels`` names: one of lists, or several of zeros and ones."""
    return [name.strip() for name in labels.split("+")]


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


def _split_of(file: Path) -> str | None:
    """The split that the name of a file, or of a folder above it, begins with.

    ``file`` is relative to the data set: ``train-00000-of-00002.parquet``, ``train/0000.parquet``.
    """
    words = (re.split(r"[._-]", part)[0] for part in reversed(file.parts))
    return next(filter(None, map(split_named, words)), None)


def _holds_texts(file: Path) -> bool:
    """Whether the library datasets would read a file of a folder: none that is hidden or describes
    the data set."""
    hidden = any(part.startswith(".") for part in file.parts)
    return file.suffix in ENDINGS and file.name not in _DESCRIPTIONS and not hidden


def _places(path: Path) -> list[tuple[str | None, Path]]:
    """The files or saved folders to read, each with the split that it belongs to.

    Raises:
        UsageError: there are none.
    """
    if path.is_file():
        found: Mapping[Path, str | None] = {path: None}
    elif (path / "state.json").is_file():
        found = {path: None}
    elif (path / "dataset_dict.json").is_file():
        folders = sorted(each for each in path.iterdir() if (each / "state.json").is_file())
        found = {folder: split_named(folder.name) for folder in folders}
    else:
        known = sorted(each for each in path.rglob("*") if _holds_texts(each.relative_to(path)))
        found = {file: _split_of(file.relative_to(path)) for file in known if file.is_file()}
    if not found or (path.is_file() and path.suffix not in ENDINGS):
        raise UsageError(
            f"dataset hf-dataset, path={path}: expected a folder that save_to_disk has written, or "
            f"files that end with {', '.join(ENDINGS)}"
        )
    return [(split, place) for place, split in found.items()]


@clsbench.hookimpl
def clsbench_register_datasets() -> Mapping[str, type[clsbench.Dataset]]:
    """Register ``hf-dataset``."""
    return {"hf-dataset": HFDataset}
