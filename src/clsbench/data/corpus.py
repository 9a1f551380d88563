"""Check a corpus that a data set has loaded."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from clsbench.components.values import Corpus
from clsbench.schema.decoding import is_encodable

SPLIT_NAMES = ("train", "validation", "test")

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

    Texts, labels (and splits) must have equal length, labels must be indices into distinct class
    names, and texts must be valid in UTF-8.
    """
    if not isinstance(corpus, Corpus):
        return f"load() returns {type(corpus).__name__}, expected a clsbench.Corpus"
    for field in ("class_names", "texts", "labels", "splits"):
        value = getattr(corpus, field)
        if not _is_list(value) and not (field == "splits" and value is None):
            return f"its {field} are {type(value).__name__}, expected a list"
    sizes = len(corpus.texts), len(corpus.labels)
    if sizes[0] != sizes[1]:
        return f"it has {sizes[0]} texts but {sizes[1]} labels"
    return _names_problem(corpus.class_names) or _rows_problem(corpus) or _splits_problem(corpus)


def _is_list(value: object) -> bool:
    """Whether a value has a length and indices; arrays qualify, text and mappings do not."""
    plain = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return plain and not isinstance(value, str | bytes | Mapping)


def _names_problem(names: Sequence[str]) -> str | None:
    for name in names:
        if not isinstance(name, str):
            return f"the class name {name!r} is {type(name).__name__}, expected text"
    return f"two classes share a name: {names}" if len(set(names)) < len(names) else None


def _rows_problem(corpus: Corpus) -> str | None:
    for row, (text, label) in enumerate(zip(corpus.texts, corpus.labels, strict=True)):
        if not isinstance(text, str):
            return f"text {row} is {type(text).__name__}, expected text"
        if not is_encodable(text):
            return f"text {row} cannot be written in UTF-8"
        if not 0 <= _index(label) < len(corpus.class_names):
            return f"label {row} is {label!r}, expected an index into {corpus.class_names}"
    return None


def _splits_problem(corpus: Corpus) -> str | None:
    if corpus.splits is None:
        return None
    if len(corpus.splits) != len(corpus.texts):
        return f"it has {len(corpus.texts)} texts but {len(corpus.splits)} splits"
    strange = sorted({str(name) for name in corpus.splits} - set(SPLIT_NAMES))
    return f"splits contains {strange}, expected {', '.join(SPLIT_NAMES)}" if strange else None


def _index(label: object) -> int:
    """The label as an index, including NumPy's integers; -1 if it is not an integer."""
    try:
        return operator.index(label)  # type: ignore[arg-type]
    except TypeError:
        return -1
