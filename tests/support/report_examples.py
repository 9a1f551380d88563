"""A store with the files of a suite's runs, made without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from metric_examples import CATALOG, SHOWN
from record_examples import SIZES, make_record, make_spec

from clsbench.analysis.metrics import split_metrics
from clsbench.analysis.suite_figures import SuiteFigures, suite_figures
from clsbench.results.csvtext import csv_line
from clsbench.results.store import write_record
from clsbench.results.suite_results import RowResult, SuiteResults, write_suite_results
from clsbench.schema.record import BaselineResult, Metrics, RunRecord, SplitMetrics
from clsbench.schema.suite import PublishedRow

TEXTS = SIZES["test"]
BASELINES = ("majority", "tfidf-logreg:ngrams=1,c=1.0")
TITLES = {BASELINES[0]: "the most frequent class", BASELINES[1]: "TF-IDF + logistic regression"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row to make: its accuracy, the decrease with each further seed, and its training time."""

    title: str = "a row"
    accuracy: float = 0.95
    less_by_seed: float = 0.0
    seconds: float = 10.0
    seeds: tuple[int, ...] = (123,)
    modified: bool = False
    published: float | None = None
    changes: dict[str, Any] = {}
    record: dict[str, Any] = {}


def make_figures(
    store: Path,
    rows: Sequence[Row],
    class_names: tuple[str, ...] = ("ham", "spam"),
    baselines: tuple[float, ...] = (0.5, 0.9),
    **results: Any,
) -> SuiteFigures:
    """Write the runs of these rows and their suite into ``store``, and read them."""
    found = []
    for number, row in enumerate(rows, 1):
        names = [_write_run(store, number, seed, row, class_names, baselines) for seed in row.seeds]
        published = PublishedRow(accuracy={"test": row.published}) if row.published else None
        found.append(
            RowResult(
                label=str(number),
                title=row.title,
                changes=row.changes,
                published=published,
                modified=row.modified,
                runs=tuple(names),
            )
        )
    fields: dict[str, Any] = {
        "name": "a-suite",
        "description": "What matters",
        "base": "gpt2-sms-spam",
        "for_all": {},
        "seeds": 1,
        "source": "a book",
        "conditions": "one machine",
        "command": ("clsbench", "suite", "a-suite"),
        "created": "2025-11-21T10:17:29+00:00",
        "rows": tuple(found),
    }
    suite = SuiteResults(**{**fields, **results})
    write_suite_results(store, suite)
    return suite_figures(suite, store, CATALOG)


def _write_run(
    store: Path,
    number: int,
    seed: int,
    row: Row,
    class_names: tuple[str, ...],
    baselines: tuple[float, ...],
) -> str:
    generator = np.random.default_rng(number * 1000 + seed)
    labels = np.arange(TEXTS) % len(class_names)
    accuracy = row.accuracy - row.less_by_seed * row.seeds.index(seed)
    predicted = _predictions(labels, accuracy, len(class_names), generator)
    directory = store / f"20251121T1017{number:02}Z-example-{number:03}{seed:05}"
    directory.mkdir(parents=True)
    probabilities = np.full((TEXTS, len(class_names)), 0.2 / max(len(class_names) - 1, 1))
    probabilities[np.arange(TEXTS), predicted] = 0.8
    header = ["split", "row", "label", *(f"probability_{name}" for name in class_names)]
    lines = [csv_line(header)]
    for text in range(TEXTS):
        numbers = map(str, probabilities[text])
        lines.append(csv_line(["test", str(text), class_names[labels[text]], *numbers]))
    (directory / "predictions.csv").write_text("".join(lines), encoding="utf-8")
    # The baselines have the same predictions in every run.
    fixed = np.random.default_rng(7)
    by_baseline = [_predictions(labels, share, len(class_names), fixed) for share in baselines]
    names = BASELINES[: len(baselines)]
    lines = [csv_line(["split", "row", "label", *names])]
    for text in range(TEXTS):
        classes = [class_names[each[text]] for each in by_baseline]
        lines.append(csv_line(["test", str(text), class_names[labels[text]], *classes]))
    if baselines:
        (directory / "baselines.csv").write_text("".join(lines), encoding="utf-8")
    test = _metrics(labels, predicted, len(class_names), 0.3)
    write_record(
        directory,
        msgspec.structs.replace(
            _record(number, seed, row, class_names),
            metrics=Metrics(train=test, validation=test, test=test),
            baselines=tuple(
                BaselineResult(
                    component=name,
                    metrics=_equal_metrics(labels, each, class_names),
                    seconds=seconds,
                    title=TITLES.get(name, ""),
                )
                for name, each, seconds in zip(names, by_baseline, (0.01, 0.4), strict=False)
            ),
            phases_seconds={"data": 1.0, "training": row.seconds, "evaluation": 2.0},
        ),
    )
    return directory.name


def _record(number: int, seed: int, row: Row, class_names: tuple[str, ...]) -> RunRecord:
    record = make_record(seed=seed, modified=row.modified)
    assert record.data is not None
    data = msgspec.structs.replace(
        record.data,
        class_names=class_names,
        class_counts={"test": dict.fromkeys(class_names, TEXTS // len(class_names))},
    )
    changes = {
        "spec": make_spec(seed),
        "fingerprint": f"{number:016}",
        "run_key": f"{number:08}{seed:08}",
        "data": data,
        **row.record,
    }
    changes["spec"] = {**changes["spec"], "seed": seed}
    return msgspec.structs.replace(record, **changes)


def _equal_metrics(
    labels: np.ndarray, predicted: np.ndarray, class_names: tuple[str, ...]
) -> Metrics:
    test = _metrics(labels, predicted, len(class_names), None)
    return Metrics(train=test, validation=test, test=test)


def _metrics(
    labels: np.ndarray, predicted: np.ndarray, classes: int, loss: float | None
) -> SplitMetrics:
    leaked = np.zeros(TEXTS, dtype=bool)
    leaked[:37] = True
    return split_metrics(
        labels, predicted, classes, metrics=SHOWN.components, loss=loss, leaked=leaked
    )


def _predictions(
    labels: np.ndarray, accuracy: float, classes: int, generator: np.random.Generator
) -> np.ndarray:
    """Predictions with exactly this accuracy."""
    wrong = generator.permutation(TEXTS)[: round(TEXTS * (1 - accuracy))]
    predicted = labels.copy()
    predicted[wrong] = (predicted[wrong] + 1) % classes
    return predicted


def row_of_size(size: int, accuracy: float, freezing: str = "head-only", **row: Any) -> Row:
    """A row with ``data.train_size`` set, as a sweep makes it."""
    data = make_record().data
    assert data is not None
    facts = msgspec.structs.replace(
        data,
        sizes={**SIZES, "train": size},
        class_names=("ham", "spam"),
        class_counts={"test": dict.fromkeys(("ham", "spam"), TEXTS // 2)},
        sha256=f"sha256 of {size}",
        texts_sha256={"train": f"train {size}", "validation": "validation", "test": "test"},
    )
    spec = make_spec(freezing={"name": freezing})
    spec["data"] = {**spec["data"], "train_size": size}
    return Row(
        **{
            "title": f"{freezing}, data.train_size={size}",
            "accuracy": accuracy,
            "changes": {"freezing": freezing, "data.train_size": size},
            "record": {"data": facts, "spec": spec},
            **row,
        }
    )


def rows_on_datasets(accuracies: Mapping[str, Sequence[float]], **row: Any) -> list[Row]:
    """Rows of methods on the data sets ``a.csv``, ``b.csv`` …, as a sweep over them makes it."""
    data = make_record().data
    assert data is not None
    rows = []
    for method, found in accuracies.items():
        for name, accuracy in zip("abcdefghij", found, strict=False):
            chosen = f"csv:path=data/{name}.csv,text=t"
            facts = msgspec.structs.replace(
                data,
                class_names=("ham", "spam"),
                class_counts={"test": dict.fromkeys(("ham", "spam"), TEXTS // 2)},
                sha256=f"sha256 of {name}",
                texts_sha256={split: f"{split} of {name}" for split in SIZES},
            )
            spec = make_spec(freezing={"name": method})
            spec["dataset"] = {"name": "csv", "path": f"data/{name}.csv", "text": "t"}
            made = {
                "title": f"{method}, dataset={chosen}",
                "accuracy": accuracy,
                "changes": {"freezing": method, "dataset": chosen},
                "record": {"data": facts, "spec": spec},
            }
            rows.append(Row(**{**made, **row}))
    return rows
