"""Check a corpus that a data set has loaded."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from numbers import Real

from clsbench.components.labels import SEPARATOR
from clsbench.components.values import Corpus
from clsbench.schema.decoding import is_encodable

SPLIT_NAMES = ("train", "validation", "test")

_OPTIONAL = ("text_pairs", "splits", "groups", "times")

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def split_named(word: str) -> str | None:
    """The split that a word in a user's data names (``dev`` is validation), else ``None``."""
    return _SPLIT_WORDS.get(word.strip().lower())


def corpus_problem(corpus: object) -> str | None:
    """The reason why ``corpus`` is not usable, or ``None``.

    Texts, labels (and text pairs, splits, groups, times) must have equal length. Labels must be
    indices into distinct class names (with ``multi_label``, ascending tuples of them), texts valid
    in UTF-8, groups text, and times finite numbers.
    """
    if not isinstance(corpus, Corpus):
        return f"load() returns {type(corpus).__name__}, expected a clsbench.Corpus"
    for field in ("class_names", "texts", "labels", *_OPTIONAL):
        value = getattr(corpus, field)
        if not _is_list(value) and not (field in _OPTIONAL and value is None):
            return f"its {field} are {type(value).__name__}, expected a list"
    sizes = len(corpus.texts), len(corpus.labels)
    if sizes[0] != sizes[1]:
        return f"it has {sizes[0]} texts but {sizes[1]} labels"
    for field in _OPTIONAL:
        value = getattr(corpus, field)
        if value is not None and len(value) != sizes[0]:
            return f"it has {sizes[0]} texts but {len(value)} {field}"
    return (
        _names_problem(corpus.class_names, corpus.multi_label)
        or _rows_problem(corpus)
        or _splits_problem(() if corpus.splits is None else corpus.splits)
        or _groups_problem(corpus.groups)
        or _times_problem(corpus.times)
    )


def _is_list(value: object) -> bool:
    """Whether a value has a length and indices; arrays qualify, text and mappings do not."""
    plain = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return plain and not isinstance(value, str | bytes | Mapping)


def _names_problem(names: Sequence[str], multi_label: bool) -> str | None:
    for name in names:
        if not isinstance(name, str):
            return f"the class name {name!r} is {type(name).__name__}, expected text"
        if multi_label and (not name or SEPARATOR in name):
            return f"the class name {name!r} is empty or contains {SEPARATOR!r}"
    return f"two classes share a name: {names}" if len(set(names)) < len(names) else None


def _rows_problem(corpus: Corpus) -> str | None:
    pairs = () if corpus.text_pairs is None else corpus.text_pairs
    for what, texts in (("text", corpus.texts), ("text pair", pairs)):
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                return f"{what} {row} is {type(text).__name__}, expected text"
            if not is_encodable(text):
                return f"{what} {row} cannot be written in UTF-8"
    for row, label in enumerate(corpus.labels):
        if corpus.multi_label:
            if not _is_label_set(label, len(corpus.class_names)):
                return (
                    f"label {row} is {label!r}, expected a tuple of ascending indices into "
                    f"{corpus.class_names}"
                )
        elif not 0 <= _index(label) < len(corpus.class_names):
            return f"label {row} is {label!r}, expected an index into {corpus.class_names}"
    return None


def _is_label_set(label: object, num_classes: int) -> bool:
    if not isinstance(label, tuple):
        return False
    places = [_index(each) for each in label]
    return all(0 <= each < num_classes for each in places) and places == sorted(set(places))


def _splits_problem(splits: Sequence[str]) -> str | None:
    strange = sorted({str(name) for name in splits} - set(SPLIT_NAMES))
    return f"splits contains {strange}, expected {', '.join(SPLIT_NAMES)}" if strange else None


def _groups_problem(groups: Sequence[str] | None) -> str | None:
    for row, group in enumerate(() if groups is None else groups):
        if not isinstance(group, str):
            return f"group {row} is {type(group).__name__}, expected text"
    return None


def _times_problem(times: Sequence[float] | None) -> str | None:
    for row, time in enumerate(() if times is None else times):
        if not isinstance(time, Real) or not math.isfinite(time):
            return f"time {row} is {time!r}, expected a finite number"
    return None


def _index(label: object) -> int:
    """The label as an index, including NumPy's integers; -1 if it is not an integer."""
    try:
        return operator.index(label)  # type: ignore[arg-type]
    except TypeError:
        return -1
