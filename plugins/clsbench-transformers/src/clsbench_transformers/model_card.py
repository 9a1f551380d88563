"""The model card of an exported classifier: what it is, its metrics, and their conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from clsbench import RunRecord


def model_card(record: RunRecord, class_name: str) -> str:
    """The card as Markdown; ``class_name`` is the class of transformers."""
    data, parameters = record.data, record.parameters
    assert data is not None
    assert parameters is not None
    environment, spec = record.environment, record.spec
    trained = _code(_named(spec, "freezing"))
    if spec.get("adapter"):
        trained += f", adapter {_code(_named(spec, 'adapter'))}"
    epochs = spec["train"]["epochs"]
    given = '{"text": "first text", "text_pair": "second text"}' if data.text_pairs else '"a text"'
    every_label = ", top_k=None" if data.multi_label else ""
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-classification",
        "---",
        "",
        f"# {record.experiment}",
        "",
        f"A `{class_name}` that clsbench has trained and exported.",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'classify = pipeline("text-classification", model="this folder", truncation=True)',
        *([f"classify({given}{every_label})"] * (data.text_pairs or data.multi_label)),
        "```",
        "",
    ]
    if record.stand_ins:
        lines += [
            "**Trained with stand-ins:** "
            + "; ".join(f"{each.by} in place of {each.replaced}" for each in record.stand_ins),
            "",
        ]
    lines += ["| | |", "|---|---|"]
    rows = {
        "classes": ", ".join(map(_code, data.class_names)),
        "trained on": (
            f"{data.sizes['train']:,} {'text pairs' if data.text_pairs else 'texts'} of the data "
            f"set {_code(_named(spec, 'dataset'))}"
        ),
        "backbone": _code(_named(spec, "backbone")),
        "pooling, head": f"{_code(_named(spec, 'pooling'))}, {_code(_named(spec, 'head'))}",
        "trained parameters": f"{parameters.trainable:,} ({trained})",
        "longest text": f"{data.max_length} tokens; longer texts are truncated",
        "training": (
            f"{epochs} {'epoch' if epochs == 1 else 'epochs'}, "
            f"learning rate {spec['train']['lr']:g}, batch of {spec['train']['batch_size']}, "
            f"seed {spec['seed']}"
        ),
        "machine": f"{environment.device}, {environment.precision}, torch {environment.torch}",
        "status": record.status,
    }
    if record.metrics is not None:
        test = record.metrics.test
        low, high = (100 * each for each in test.interval)
        rows["test accuracy"] = (
            f"{100 * test.accuracy:.2f} % of {test.n:,} texts (95 % interval {low:.1f} to "
            f"{high:.1f} %)"
        )
        if test.macro_f1 is not None:  # an experiment may list other metrics
            rows["macro F1 on test"] = f"{test.macro_f1:.4f}"
        if data.multi_label and "micro-f1" in test.scores:
            rows["micro F1 on test"] = f"{test.scores['micro-f1']:.4f}"
    if record.thresholds:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in record.thresholds.items())
        rows["labels"] = (
            f"any number per text; one is predicted if its probability is at least {shown}; a text "
            "counts as correct if exactly its labels are predicted"
        )
    for baseline in record.baselines:
        measured = baseline.metrics.test
        rows[f"baseline: {baseline.title or baseline.component}"] = (
            f"{100 * measured.accuracy:.2f} % of the same texts"
        )
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"


def _named(spec: Mapping[str, Any], key: str) -> str:
    """A component with its options as text; of paths the last part."""
    table = dict(spec[key])
    name = str(table.pop("name"))
    on_hub = bool(table.get("revision"))
    shown = {
        option: _text(value, on_hub)
        for option, value in table.items()
        if value not in ("", None, [], {})
    }
    options = ",".join(f"{option}={value}" for option, value in shown.items())
    return f"{name}:{options}" if options else name


def _text(value: object, on_hub: bool) -> str:
    if isinstance(value, str):
        return value if on_hub else PurePath(value).name
    return json.dumps(value)


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
