"""What a data set promises: non-empty labelled texts, the same ones every time."""

from __future__ import annotations

from collections import Counter

from clsbench.components import Dataset
from clsbench.testing.promises import check_assets, check_options, require
from clsbench.values import Corpus, Files

SPLIT_NAMES = frozenset({"train", "validation", "test"})


def check_dataset(dataset: Dataset, files: Files | None = None) -> None:
    """Check a data set with every way of quoting; ``files`` says where its assets lie.

    It loads as many texts as labels, no text blank, every label an index into two or more class
    names, every class used, the splits, where it has any, known; and the same again when asked
    again.

    Raises:
        AssertionError: a promise is broken.
    """
    check_options(dataset)
    check_assets(dataset)
    stand_in = dataset.stand_in()
    require(
        stand_in is None or isinstance(stand_in, Dataset),
        dataset,
        f"its stand-in is no data set: {stand_in!r}",
    )
    given = files or {}
    missing = [asset.key for asset in dataset.assets() if asset.key not in given]
    require(not missing, dataset, f"hand its assets to the check: files lacks {missing}")
    for quoting in ("default", "none"):
        corpus = dataset.load(given, quoting)
        _check_corpus(dataset, corpus)
        again = dataset.load(given, quoting)
        require(_content(corpus) == _content(again), dataset, "loaded again, it gives other texts")


def _content(corpus: Corpus) -> tuple[object, ...]:
    splits = None if corpus.splits is None else list(corpus.splits)
    return corpus.class_names, list(corpus.texts), list(corpus.labels), splits


def _check_corpus(dataset: Dataset, corpus: Corpus) -> None:
    require(isinstance(corpus, Corpus), dataset, f"load() gives {type(corpus).__name__}")
    names = corpus.class_names
    require(len(names) >= 2, dataset, f"it has the classes {names}; two are needed at least")
    require(len(set(names)) == len(names), dataset, f"two classes share a name: {names}")
    texts, labels = list(corpus.texts), list(corpus.labels)
    require(
        len(texts) == len(labels), dataset, f"{len(texts)} texts stand against {len(labels)} labels"
    )
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        require(isinstance(text, str), dataset, f"text {row} is {type(text).__name__}")
        require(bool(text.strip()), dataset, f"text {row} is blank")
        require(_is_unicode(text), dataset, f"text {row} cannot be written in UTF-8")
        require(
            isinstance(label, int) and 0 <= label < len(names),
            dataset,
            f"label {row} is {label!r}, expected an index into {names}",
        )
    counts = Counter(labels)
    unused = [name for index, name in enumerate(names) if not counts[index]]
    require(not unused, dataset, f"no text belongs to {unused}")
    if corpus.splits is not None:
        splits = list(corpus.splits)
        require(len(splits) == len(texts), dataset, "splits has another length than texts")
        strange = set(splits) - SPLIT_NAMES
        require(not strange, dataset, f"splits holds {sorted(map(str, strange))}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
