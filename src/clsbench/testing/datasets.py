"""The contract of a data set: non-empty labelled texts, loaded deterministically."""

from __future__ import annotations

from typing import get_args

from clsbench.components.axes import Dataset
from clsbench.components.component import parts_of
from clsbench.components.values import Corpus, Files, TableFormat
from clsbench.data.corpus import corpus_problem
from clsbench.data.delimited import read_table
from clsbench.data.splits import label_counts
from clsbench.errors import UsageError
from clsbench.schema.experiment import SplitName
from clsbench.system.seeding import seeded
from clsbench.testing.promises import check_assets, check_options, require

SEED = 123


def check_dataset(dataset: Dataset, files: Files | None = None) -> None:
    """Check a data set; ``files`` maps the keys of its assets to paths.

    It loads as many texts as labels, without blank texts. Labels are indices into two or more class
    names, all of which are used. Text pairs, splits, groups and times, if any, are as many as
    texts. Second texts are not blank, splits have known names, and the default split and balancing
    are possible. Loading again returns the same. A data set with its own ``table_format()`` that
    reads one user file reads the same texts from it in that format; one that wraps another data set
    may read fewer.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(dataset)
    check_assets(dataset)
    stand_in = dataset.stand_in()
    require(
        stand_in is None or isinstance(stand_in, Dataset),
        dataset,
        f"its stand-in is not a data set: {stand_in!r}",
    )
    given = files or {}
    missing = [asset.key for asset in dataset.assets() if asset.key not in given]
    require(not missing, dataset, f"hand its assets to the check: files lacks {missing}")
    with seeded(SEED):
        corpus = dataset.load(given)
    _check_corpus(dataset, corpus)
    _check_defaults(dataset, corpus)
    with seeded(SEED):
        again = dataset.load(given)
    require(
        _content(corpus) == _content(again), dataset, "it loads different texts when called again"
    )
    _check_format(dataset, corpus)


def _check_defaults(dataset: Dataset, corpus: Corpus) -> None:
    """Its default split and balancing are possible."""
    split, balance = dataset.default_split(), dataset.default_balance()
    known = get_args(SplitName)
    require(split in known, dataset, f"default_split() returns {split!r}, expected one of {known}")
    for name, field in (("predefined", "splits"), ("group", "groups"), ("time", "times")):
        require(
            split != name or getattr(corpus, field) is not None,
            dataset,
            f"default_split() returns {name!r}, but its corpus has no {field}",
        )
    require(
        isinstance(balance, bool),
        dataset,
        f"default_balance() returns {balance!r}, expected True or False",
    )


def _check_format(dataset: Dataset, corpus: Corpus) -> None:
    """``clsbench predict --csv`` reads the training texts from the training file."""
    format = dataset.table_format()
    require(
        isinstance(format, TableFormat),
        dataset,
        f"table_format() returns {type(format).__name__}, expected a clsbench.data.TableFormat",
    )
    files = dataset.user_files()
    if type(dataset).table_format is Dataset.table_format or len(files) != 1:
        return
    if parts_of(dataset):
        return
    try:
        table = read_table(files[0], format)
        texts, pairs = table.texts(), table.text_pairs()
    except UsageError as error:
        raise AssertionError(f"{type(dataset).__name__}: its table_format(): {error}") from None
    require(
        texts == list(corpus.texts)
        and pairs == (None if corpus.text_pairs is None else list(corpus.text_pairs)),
        dataset,
        "its file, read in its table_format(), contains different texts than load() returns",
    )


def _content(corpus: Corpus) -> tuple[object, ...]:
    optional = (corpus.text_pairs, corpus.splits, corpus.groups, corpus.times)
    parts = [None if values is None else list(values) for values in optional]
    return corpus.class_names, list(corpus.texts), list(corpus.labels), *parts


def _check_corpus(dataset: Dataset, corpus: Corpus) -> None:
    problem = corpus_problem(corpus)
    task = dataset.task()
    require(
        corpus.multi_label == (task == "multi-label"),
        dataset,
        f"its task() is {task!r}, but its corpus has multi_label = {corpus.multi_label}",
    )
    require(problem is None, dataset, problem or "")
    names = corpus.class_names
    require(len(names) >= 2, dataset, f"it has the classes {names}; two are needed at least")
    pairs = () if corpus.text_pairs is None else corpus.text_pairs
    for what, texts in (("text", corpus.texts), ("text pair", pairs)):
        for row, text in enumerate(texts):
            require(bool(text.strip()), dataset, f"{what} {row} is blank")
    counts = label_counts(corpus.labels)
    unused = [name for index, name in enumerate(corpus.class_names) if not counts[index]]
    require(not unused, dataset, f"no text belongs to {unused}")
