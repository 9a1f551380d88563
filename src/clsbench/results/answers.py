"""What a run and its baselines answered to every text: written beside its record, and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clsbench.errors import UsageError
from clsbench.results.csvtext import csv_line

if TYPE_CHECKING:
    from clsbench.values import Splits

PREDICTIONS_FILE = "predictions.csv"
BASELINES_FILE = "baselines.csv"
_KEYS = ("split", "row", "label")


class Answers(NamedTuple):
    """What was answered to the texts of one split, in the order of the split.

    ``rows`` (N,) are the texts' places in the corpus, ``labels`` (N,) and ``called`` (N,) classes
    by index, ``probabilities`` (N, C) float64; ``baselines`` holds (N,) what each baseline called.
    """

    class_names: tuple[str, ...]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    called: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    baselines: Mapping[str, NDArray[np.int64]]


# --- writing --------------------------------------------------------------------------------------


def write_predictions(
    directory: Path, splits: Splits, probabilities: Mapping[str, NDArray[np.floating]]
) -> None:
    """Write ``predictions.csv``: split, row in the corpus, label, probability of each class.

    ``probabilities`` holds one array (N, C) per split name; a split without one is left out.
    Numbers are the shortest that read back as the same value in the array's dtype.

    Raises:
        ValueError: an array is not (N, C).
    """
    names = splits.class_names
    header = ["split", "row", "label", *_unique([f"probability_{name}" for name in names])]
    path = directory / PREDICTIONS_FILE
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        file.write(csv_line(header))
        for split in splits.all():
            if split.name not in probabilities:
                continue
            array = probabilities[split.name]
            if array.shape != (len(split), len(names)):
                raise ValueError(
                    f"probabilities of {split.name} are {array.shape}, expected "
                    f"{(len(split), len(names))}"
                )
            for row, label, numbers in zip(
                split.rows, split.labels, array.astype(str).tolist(), strict=True
            ):
                file.write(csv_line([split.name, str(row), names[label], *numbers]))


def write_baseline_answers(
    directory: Path, splits: Splits, called: Mapping[str, Mapping[str, NDArray[np.integer]]]
) -> None:
    """Write ``baselines.csv``: split, row in the corpus, label, the class each baseline called.

    ``called`` holds, by baseline and split name, classes by index (N,).
    """
    names = splits.class_names
    with (directory / BASELINES_FILE).open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(csv_line(["split", "row", "label", *called]))
        for split in splits.all():
            columns = [answers[split.name].tolist() for answers in called.values()]
            for row, label, *answered in zip(split.rows, split.labels, *columns, strict=True):
                classes = [names[place] for place in (label, *answered)]
                file.write(csv_line([split.name, str(row), *classes]))


def _unique(names: list[str]) -> list[str]:
    chosen: dict[str, None] = {}
    for name in names:
        candidate, count = name, 1
        while candidate in chosen:
            count += 1
            candidate = f"{name}_{count}"
        chosen[candidate] = None
    return list(chosen)


# --- reading --------------------------------------------------------------------------------------


def read_answers(run: Path, class_names: Sequence[str], split: str = "test") -> Answers:
    """The answers of a stored run.

    Raises:
        UsageError: it stored none for this split, or they are damaged.
    """
    table = _table(run / PREDICTIONS_FILE, split, texts={"label": str})
    if table is None or table.empty:
        raise UsageError(
            f"the run {run.name} has no answers to the {split} texts: {PREDICTIONS_FILE} was never "
            "written, is gone, or holds none of them"
        )
    numbers = table.columns[len(_KEYS) :]
    if len(numbers) != len(class_names):
        raise UsageError(
            f"{run / PREDICTIONS_FILE} is damaged: it has {len(numbers)} probabilities a text for "
            f"{len(class_names)} classes"
        )
    try:
        probabilities = table[numbers].to_numpy(dtype=np.float64)
        rows = table["row"].to_numpy(dtype=np.int64)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{run / PREDICTIONS_FILE} is damaged: {error}") from None
    return Answers(
        class_names=tuple(class_names),
        rows=rows,
        labels=_classes(table["label"], class_names, run / PREDICTIONS_FILE),
        called=probabilities.argmax(axis=1),
        probabilities=probabilities,
        baselines=_baselines(run, class_names, split, rows),
    )


def _baselines(
    run: Path, class_names: Sequence[str], split: str, rows: NDArray[np.int64]
) -> Mapping[str, NDArray[np.int64]]:
    """None in runs of versions that did not keep them."""
    table = _table(run / BASELINES_FILE, split, texts=str)
    if table is None:
        return {}
    if [str(row) for row in table["row"]] != [str(row) for row in rows]:
        raise UsageError(
            f"{run / BASELINES_FILE} is damaged: it holds other texts than {PREDICTIONS_FILE}"
        )
    names = [str(name) for name in table.columns[len(_KEYS) :]]
    return {name: _classes(table[name], class_names, run / BASELINES_FILE) for name in names}


def _table(file: Path, split: str, texts: Any) -> pd.DataFrame | None:
    """The lines of a split; ``None`` where there is no such file.

    ``texts`` says which columns hold text, as pandas' ``dtype`` does: a class may be called "NA",
    "1" or "inf".
    """
    try:
        table = pd.read_csv(file, dtype=texts, keep_default_na=False)
        if tuple(table.columns[: len(_KEYS)]) != _KEYS:
            raise ValueError(f"its header is {', '.join(map(str, table.columns))}")
        return table[table["split"] == split]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is damaged: {error}") from None


def _classes(names: pd.Series[str], class_names: Sequence[str], file: Path) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(class_names)}
    try:
        return np.array([places[str(name)] for name in names], dtype=np.int64)
    except KeyError as error:
        raise UsageError(f"{file} is damaged: there is no class {error}") from None
