"""Balance and split a corpus: exactly as in the book, or stratified by class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from clsbench.components.labels import Label, classes_of
from clsbench.components.values import Corpus, Split, Splits, Text, TextPair
from clsbench.data.label_strata import stratified_labels
from clsbench.data.labels import MOST_RARE, named
from clsbench.data.related_texts import split_by_group, split_by_time
from clsbench.data.strata import shares_of, stratified
from clsbench.errors import UsageError
from clsbench.schema.experiment import DataSettings, SplitSettings
from clsbench.schema.record import Leaked

if TYPE_CHECKING:
    import pandas as pd

_MUCH_OFF = 0.05
"""The difference between a split's part of the texts and its share from which on it is reported."""

SHUFFLES = {"book": 1, "book-ablation": 2}
"""The number of shuffles before splitting; the bonus script shuffles twice."""


def split_corpus(corpus: Corpus, settings: DataSettings) -> Splits:
    """Balance, shuffle and divide; the result depends on the corpus and ``settings`` alone.

    Source: *LLMs-from-scratch*, ``ch06/01_main-chapter-code/ch06.ipynb`` (``book``) and
    ``ch06/02_bonus_additional-experiments/additional_experiments.py`` (``book-ablation``).

    Raises:
        UsageError: fewer than two classes, an empty split, or a class without training texts.
        ValueError: the settings are not those of a resolved spec.
    """
    import pandas as pd  # prediction needs this module, but no splits

    if settings.split.name is None or settings.balance is None:
        raise ValueError("data.split.name and data.balance must be set; resolve the spec first")
    counts = label_counts(corpus.labels)
    if len(counts) < 2:
        found = named([corpus.class_names[label] for label in counts]) or "no text at all"
        raise UsageError(f"a classifier needs texts of two classes or more; the corpus has {found}")
    if corpus.multi_label and settings.balance:
        raise UsageError(
            "data.balance=true requires one class per text, but this data set is multi-label; set "
            "data.balance=false"
        )
    frame = pd.DataFrame({"label": list(corpus.labels)}).rename_axis("row").reset_index()
    if settings.split.name == "predefined":
        parts = _predefined(corpus, frame, settings)
    else:
        if settings.balance:
            frame = _balanced(frame, settings.split.seed)
        if settings.split.name == "stratified":
            parts = _stratified(frame, settings.split)
        elif settings.split.name in ("group", "time"):
            parts = _related(corpus, frame, settings.split)
        else:
            for _ in range(SHUFFLES[settings.split.name]):
                frame = _shuffled(frame, settings.split.seed)
            parts = _cut(frame, settings.split)
    splits = Splits(
        class_names=corpus.class_names,
        train=_gather("train", corpus, parts[0]),
        validation=_gather("validation", corpus, parts[1]),
        test=_gather("test", corpus, parts[2]),
        multi_label=corpus.multi_label,
    )
    _refuse_unusable(splits, _advice(corpus, settings))
    return splits


def split_warnings(splits: Splits, corpus: Corpus, settings: DataSettings) -> list[str]:
    """Warnings about missing classes in the splits, and about balancing that drops most texts."""
    counts = {
        corpus.class_names[label]: count for label, count in label_counts(corpus.labels).items()
    }
    warnings = []
    smallest = min(counts, key=lambda name: counts[name])
    if dropped_texts(corpus, splits) and counts[smallest] <= MOST_RARE:
        warnings.append(
            f"data.balance=true cuts every class to the size of {named([smallest])}, which has "
            f"{counts[smallest]} of {len(corpus.texts):,} texts; data.balance=false keeps all"
        )
    if settings.split.name in ("group", "time"):
        warnings += _unequal_shares(splits, settings.split)
    warnings += _shared_groups(splits, corpus, settings.split)
    advice = _advice(corpus, settings)
    for split in (splits.validation, splits.test):
        if absent := _absent(split, splits):
            what = f"{'class' if len(absent) == 1 else 'the classes'} {named(absent)}"
            why = "too few texts" if settings.split.name == "stratified" else advice[split.name]
            warnings.append(f"the {split.name} split ({len(split):,} texts) lacks {what}: {why}")
    return warnings


def _unequal_shares(splits: Splits, settings: SplitSettings) -> list[str]:
    """A warning if groups or equal times make a split much larger or smaller than its share."""
    total = sum(len(split) for split in splits.all())
    wanted = map(float, shares_of(settings.train, settings.validation))
    found = [
        f"{split.name} has {len(split) / total:.0%} instead of {share:.0%}"
        for split, share in zip(splits.all(), wanted, strict=True)
        if abs(len(split) / total - share) > _MUCH_OFF
    ]
    kept = "texts of a group" if settings.name == "group" else "texts of the same time"
    return [f"{', '.join(found)} of the texts, because {kept} stay together"] if found else []


def _shared_groups(splits: Splits, corpus: Corpus, settings: SplitSettings) -> list[str]:
    """A warning if a split that ignores the groups has some of them on both sides."""
    if corpus.groups is None:
        return []
    trained = {corpus.groups[row] for row in splits.train.rows}
    shared = {
        split.name: sum(corpus.groups[row] in trained for row in split.rows)
        for split in (splits.validation, splits.test)
    }
    if not any(shared.values()):
        return []
    found = " and ".join(
        f"{count:,} of {len(getattr(splits, name)):,} {name}" for name, count in shared.items()
    )
    return [
        f"{found} texts are of groups that have training texts, too, since data.split="
        f"{settings.name} does not keep groups together; data.split=group does"
    ]


def label_counts(labels: Iterable[Label]) -> Counter[int]:
    """The number of texts of each class."""
    return Counter(each for label in labels for each in classes_of(label))


def dropped_texts(corpus: Corpus, splits: Splits) -> dict[str, int]:
    """The number of texts by class that are in no split; only classes with such texts."""
    used = label_counts(label for split in splits.all() for label in split.labels)
    dropped = label_counts(corpus.labels) - used
    return {corpus.class_names[label]: count for label, count in sorted(dropped.items())}


def leaked(splits: Splits) -> dict[str, list[bool]]:
    """For validation and test: which texts also occur in the training split."""
    seen = set(splits.train.texts)
    return {s.name: [text in seen for text in s.texts] for s in (splits.validation, splits.test)}


def count_leaked(flags: dict[str, list[bool]]) -> Leaked:
    """The number of leaked texts per split."""
    return Leaked(validation=sum(flags["validation"]), test=sum(flags["test"]))


def splits_sha256(splits: Splits) -> str:
    """A hash of all three splits: rows, labels and texts in their order."""
    rows = [list(zip(s.rows, s.labels, s.texts, strict=True)) for s in splits.all()]
    return hashlib.sha256(msgspec.json.encode([splits.class_names, rows])).hexdigest()


def texts_sha256(splits: Splits) -> dict[str, str]:
    """A hash of each split's texts and classes in order, independent of indices into the corpus."""
    return {
        split.name: hashlib.sha256(
            msgspec.json.encode([splits.class_names, split.labels, split.texts])
        ).hexdigest()
        for split in splits.all()
    }


def _balanced(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sample every class down to the size of the smallest; classes are in their order."""
    import pandas as pd

    groups = [group for _, group in frame.groupby("label")]
    fewest = min(len(group) for group in groups)
    smallest = max(i for i, group in enumerate(groups) if len(group) == fewest)
    return pd.concat(
        group if i == smallest else group.sample(fewest, random_state=seed)
        for i, group in enumerate(groups)
    )


def _shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def _stratified(frame: pd.DataFrame, settings: SplitSettings) -> list[Sequence[int]]:
    """Divide every class by the shares; the order of the classes does not matter."""
    frame = _shuffled(frame.sort_values("row"), settings.seed)
    labels = frame["label"].tolist()
    several = any(isinstance(label, tuple) for label in labels)
    divide = stratified_labels if several else stratified
    parts = divide(labels, settings.train, settings.validation)
    rows = frame["row"].tolist()
    return [[rows[place] for place in places] for places in parts]


def _related(corpus: Corpus, frame: pd.DataFrame, settings: SplitSettings) -> list[Sequence[int]]:
    """Divide by group or by time, as the data set gives them."""
    given = corpus.groups if settings.name == "group" else corpus.times
    if given is None:
        raise UsageError(
            f"data.split={settings.name}: this data set has no {settings.name}s; name their column "
            f"as the data set's option, such as csv:path=…,{settings.name}=COLUMN, or use "
            "data.split=stratified"
        )
    frame = frame.sort_values("row")
    if settings.name == "group":
        frame = _shuffled(frame, settings.seed)
    rows, shares = frame["row"].tolist(), (settings.train, settings.validation)
    if settings.name == "group":
        groups = [str(given[row]) for row in rows]
        parts = split_by_group(frame["label"].tolist(), groups, *shares)
    else:
        parts = split_by_time([float(given[row]) for row in rows], *shares)
    return [[rows[place] for place in places] for places in parts]


def _cut(frame: pd.DataFrame, settings: SplitSettings) -> list[Sequence[int]]:
    rows = frame["row"].tolist()
    train_end = int(len(rows) * settings.train)
    validation_end = train_end + int(len(rows) * settings.validation)
    return [rows[:train_end], rows[train_end:validation_end], rows[validation_end:]]


def _predefined(corpus: Corpus, frame: pd.DataFrame, settings: DataSettings) -> list[Sequence[int]]:
    """Use the corpus' own splits; a missing validation split is cut from the training split."""
    if corpus.splits is None:
        raise UsageError(
            "data.split=predefined: this corpus comes without predefined splits; use "
            "data.split=stratified"
        )
    frame = frame.assign(split=list(corpus.splits))
    train = frame[frame["split"] == "train"]
    if settings.balance:
        train = _balanced(train, settings.split.seed) if len(train) else train
    train = _shuffled(train, settings.split.seed)
    validation = frame[frame["split"] == "validation"]
    if not len(validation):
        held_out = _held_out(train["label"].tolist(), settings.split.validation)
        train, validation = train.drop(train.index[held_out]), train.iloc[held_out]
    test = frame[frame["split"] == "test"]
    return [part["row"].tolist() for part in (train, validation, test)]


def _held_out(labels: Sequence[Label], share: float) -> list[int]:
    """The first indices, up to the share, such that every class keeps a training text."""
    left = label_counts(labels)
    places: list[int] = []
    for place, label in enumerate(labels):
        classes = classes_of(label)
        if len(places) < int(len(labels) * share) and all(left[each] > 1 for each in classes):
            left.subtract(classes)
            places.append(place)
    return places


def _gather(name: str, corpus: Corpus, rows: Sequence[int]) -> Split:
    return Split(
        name=name,
        rows=tuple(rows),
        texts=tuple(_text(corpus, row) for row in rows),
        labels=tuple(_plain(corpus.labels[row]) for row in rows),
    )


def _plain(label: Label) -> Label:
    """The label in Python's integers."""
    return tuple(map(int, label)) if isinstance(label, tuple) else int(label)


def _text(corpus: Corpus, row: int) -> Text:
    if corpus.text_pairs is None:
        return corpus.texts[row]
    return TextPair(corpus.texts[row], corpus.text_pairs[row])


def _advice(corpus: Corpus, settings: DataSettings) -> dict[str, str]:
    """Advice for a split that is empty or lacks a class, by split name."""
    names = ("train", "validation", "test")
    more = "set data.balance=false, which keeps all texts, or" if settings.balance else "or"
    larger = (
        "give it a larger share (data.split.train, data.split.validation; the rest is test), "
        f"{more} add texts"
    )
    if settings.split.name == "stratified":
        return dict.fromkeys(names, larger)
    if settings.split.name == "time":
        order = "data.split=time puts the oldest texts into train and the newest into test;"
        return dict.fromkeys(names, f"{order} {larger}")
    if settings.split.name == "group":
        together = "data.split=group keeps the texts of a group together; try another"
        return dict.fromkeys(names, f"{together} data.split.seed, or {larger}")
    if settings.split.name != "predefined":
        stratified = "use data.split=stratified, which divides every class by the shares, try"
        return dict.fromkeys(names, f"{stratified} another data.split.seed, or {larger}")
    given = (
        "data.split=predefined uses the splits of the corpus; correct those, or use "
        "data.split=stratified to split all texts again"
    )
    advice = dict.fromkeys(names, given)
    if "validation" not in (corpus.splits or ()):
        advice["validation"] = (
            "it is taken from the corpus's training split; use a larger data.split.validation"
        )
    return advice


def _refuse_unusable(splits: Splits, advice: Mapping[str, str]) -> None:
    for split in splits.all():
        if not len(split):
            what = "no text"
        elif split.name == "train" and (absent := _absent(split, splits)):
            what = f"no text of class {named(absent[:1])}"
        else:
            continue
        raise UsageError(
            f"the {split.name} split ({len(split)} texts) has {what}: {advice[split.name]}"
        )


def _absent(split: Split, splits: Splits) -> tuple[str, ...]:
    """The classes of other splits that this split lacks."""
    used = label_counts(label for each in splits.all() for label in each.labels)
    absent = used.keys() - label_counts(split.labels).keys()
    return tuple(splits.class_names[label] for label in sorted(absent))
