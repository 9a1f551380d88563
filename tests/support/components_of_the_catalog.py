"""Every component of the catalog, with the options that it is tested with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from clsbench.components.catalog import Entry, load_catalog

CATALOG = load_catalog()

VARIANTS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("datasets", "csv"): [
        {"path": "{folder}/texts.csv"},
        {"path": "{folder}/texts.csv", "split": "part", "format": "csv", "delimiter": ","},
        {"path": "{folder}/texts.csv", "quoting": "none"},
        {"path": "{folder}/texts.jsonl", "text": "body", "label": "class"},
    ],
    ("datasets", "sms-spam"): [{}, {"quoting": "none"}],
    ("datasets", "synthetic-sms"): [{}, {"texts": 20}],
    ("backbones", "gpt2"): [
        {"weights": "{folder}/checkpoint"},
        {"weights": "{folder}/checkpoint", "causal": False},
    ],
    ("backbones", "gpt2-nano"): [{}, {"weights": "random", "causal": False}],
    ("poolings", "mean"): [{}, {"include_padding": True}],
    ("poolings", "max"): [{}, {"include_padding": True}],
    ("heads", "mlp"): [{}, {"width": 3, "dropout": 0.5}],
    ("freezing_strategies", "last-blocks"): [{}, {"n": 2}, {"n": 12}],
    ("freezing_strategies", "head-only"): [{}, {"final_norm": True}],
    ("freezing_strategies", "gradual"): [{}, {"epochs_per_block": 2}],
    ("adapters", "lora"): [{}, {"r": 16, "alpha": 16.0}],
    ("optimizers", "adamw"): [{}, {"beta1": 0.8, "beta2": 0.98, "eps": 1e-6}],
    ("optimizers", "sgd"): [{}, {"momentum": 0.0}, {"momentum": 0.5, "nesterov": True}],
    ("optimizers", "adafactor"): [{}, {"beta2_decay": -0.5, "clipping": 2.0}],
    ("optimizers", "lbfgs"): [{}, {"iterations": 4, "history": 2, "line_search": False}],
    ("schedules", "constant"): [{}, {"warmup": 0.25}],
    ("schedules", "linear"): [{}, {"warmup": 0.1}],
    ("schedules", "cosine"): [{}, {"warmup": 0.9}],
    ("schedules", "slanted-triangular"): [{}, {"warmup": 0.0}, {"warmup": 0.99, "ratio": 1.0}],
    ("losses", "cross-entropy"): [{}, {"class_weights": "balanced", "label_smoothing": 0.1}],
    ("losses", "focal"): [{}, {"gamma": 0.5, "class_weights": "balanced"}, {"gamma": 0.0}],
    ("tuners", "optuna"): [{}, {"startup": 1}],
    ("baselines", "tfidf-logreg"): [{}, {"ngrams": 3, "c": 10.0}],
}
"""The options of components that are not tested only with their defaults."""


def entries(*axes: str) -> list[Any]:
    return [
        pytest.param(entry, options, id=f"{entry.axis}-{entry.name}-{number}")
        for axis in axes
        for entry in CATALOG.entries[axis].values()
        for number, options in enumerate(VARIANTS.get((axis, entry.name), [{}]))
    ]


def make(entry: Entry, options: dict[str, Any], folder: Path | None = None) -> Any:
    assert isinstance(entry.component, type)
    filled = {
        key: value.format(folder=folder) if isinstance(value, str) else value
        for key, value in options.items()
    }
    try:
        return msgspec.convert(filled, entry.component)
    except msgspec.ValidationError as error:
        if entry.distribution != "clsbench":
            pytest.skip(f"{entry.name} needs options; the tests of {entry.distribution} have them")
        pytest.fail(f"{entry.name} needs options; add them to VARIANTS: {error}")
