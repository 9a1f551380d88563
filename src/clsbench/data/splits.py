"""Balancing and splitting a corpus, row for row as the book does."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import pandas as pd

from clsbench.errors import UsageError
from clsbench.record import Leaked
from clsbench.spec import DataSettings, SplitSettings
from clsbench.values import Corpus, Split, Splits

SHUFFLES = {"book": 1, "book-ablation": 2}
"""How often each variant shuffles before it cuts; the bonus script does it twice."""


def split_corpus(corpus: Corpus, settings: DataSettings) -> Splits:
    """Balance, shuffle and cut; the result depends on the corpus and ``settings`` alone.

    Source: *LLMs-from-scratch*, ``ch06/01_main-chapter-code/ch06.ipynb`` (``book``) and
    ``ch06/02_bonus_additional-experiments/additional_experiments.py`` (``book-ablation``).

    Raises:
        UsageError: fewer than two classes, or a split or a class in one comes out empty.
    """
    counts = Counter(corpus.labels)
    if len(counts) < 2:
        found = ", ".join(corpus.class_names[label] for label in counts) or "no text at all"
        raise UsageError(f"a classifier needs texts of two classes or more; the corpus has {found}")
    frame = pd.DataFrame({"label": list(corpus.labels)}).rename_axis("row").reset_index()
    if settings.split.name == "predefined":
        parts = _predefined(corpus, frame, settings)
    else:
        if settings.balance:
            frame = _balanced(frame, settings.split.seed)
        for _ in range(SHUFFLES[settings.split.name]):
            frame = _shuffled(frame, settings.split.seed)
        parts = _cut(frame, settings.split)
    splits = Splits(
        class_names=corpus.class_names,
        train=_gather("train", corpus, parts[0]),
        validation=_gather("validation", corpus, parts[1]),
        test=_gather("test", corpus, parts[2]),
    )
    _refuse_empty(splits, _advice(corpus, settings))
    return splits


def leaked(splits: Splits) -> dict[str, list[bool]]:
    """For validation and test: which texts stand word for word in the training split."""
    seen = set(splits.train.texts)
    return {s.name: [text in seen for text in s.texts] for s in (splits.validation, splits.test)}


def count_leaked(flags: dict[str, list[bool]]) -> Leaked:
    """The number of leaked texts per split."""
    return Leaked(validation=sum(flags["validation"]), test=sum(flags["test"]))


def splits_sha256(splits: Splits) -> str:
    """A hash of all three splits: rows, labels and texts in their order."""
    rows = [list(zip(s.rows, s.labels, s.texts, strict=True)) for s in splits.all()]
    return hashlib.sha256(msgspec.json.encode([splits.class_names, rows])).hexdigest()


def _balanced(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every class sampled down to the smallest, which is kept whole; classes in their order."""
    groups = [group for _, group in frame.groupby("label")]
    fewest = min(len(group) for group in groups)
    smallest = max(i for i, group in enumerate(groups) if len(group) == fewest)
    return pd.concat(
        group if i == smallest else group.sample(fewest, random_state=seed)
        for i, group in enumerate(groups)
    )


def _shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def _cut(frame: pd.DataFrame, settings: SplitSettings) -> list[Sequence[int]]:
    rows = frame["row"].tolist()
    train_end = int(len(rows) * settings.train)
    validation_end = train_end + int(len(rows) * settings.validation)
    return [rows[:train_end], rows[train_end:validation_end], rows[validation_end:]]


def _predefined(corpus: Corpus, frame: pd.DataFrame, settings: DataSettings) -> list[Sequence[int]]:
    """The corpus' own splits; a validation split that it lacks is cut from its training split."""
    if corpus.splits is None:
        raise UsageError(
            "data.split=predefined: this corpus comes without predefined splits; use "
            "data.split=book"
        )
    frame = frame.assign(split=list(corpus.splits))
    train = frame[frame["split"] == "train"]
    if settings.balance:
        train = _balanced(train, settings.split.seed) if len(train) else train
    train = _shuffled(train, settings.split.seed)
    validation = frame[frame["split"] == "validation"]
    if not len(validation):
        held_out = int(len(train) * settings.split.validation)
        train, validation = train[held_out:], train[:held_out]
    test = frame[frame["split"] == "test"]
    return [part["row"].tolist() for part in (train, validation, test)]


def _gather(name: str, corpus: Corpus, rows: Sequence[int]) -> Split:
    return Split(
        name=name,
        rows=tuple(rows),
        texts=tuple(corpus.texts[row] for row in rows),
        labels=tuple(int(corpus.labels[row]) for row in rows),
    )


def _advice(corpus: Corpus, settings: DataSettings) -> dict[str, str]:
    """What helps where a split comes out empty or lacks a class, by the split's name."""
    if settings.split.name != "predefined":
        share = (
            "give it a larger share (data.split.train, data.split.validation; test is what they "
            "leave), another data.split.seed, or more texts"
        )
        return dict.fromkeys(("train", "validation", "test"), share)
    given = (
        "data.split=predefined takes it as the corpus has it, so mend that, or let data.split=book "
        "divide all texts anew"
    )
    advice = dict.fromkeys(("train", "validation", "test"), given)
    if "validation" not in (corpus.splits or ()):
        advice["validation"] = (
            "it is cut from the corpus' training split, so give it a larger data.split.validation "
            "or another data.split.seed"
        )
    return advice


def _refuse_empty(splits: Splits, advice: Mapping[str, str]) -> None:
    used = {label for split in splits.all() for label in split.labels}
    for split, label in itertools.product(splits.all(), sorted(used)):
        if label not in split.labels:
            what = f"no text of class {splits.class_names[label]!r}" if len(split) else "no text"
            raise UsageError(
                f"the {split.name} split ({len(split)} texts) has {what}: {advice[split.name]}"
            )
