"""Suites: the book's bonus experiments, and approaches for the user's own texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import clsbench
from clsbench import PublishedRow, SuiteRow, SuiteSpec, TuneSpec


def _row(
    label: str,
    title: str,
    changes: Mapping[str, Any],
    percent: tuple[float, float, float],
    minutes: float,
    remark: str = "",
) -> SuiteRow:
    splits = ("train", "validation", "test")
    accuracy = {name: round(p / 100, 4) for name, p in zip(splits, percent, strict=True)}
    published = PublishedRow(accuracy=accuracy, minutes=minutes, remark=remark)
    return SuiteRow(label=label, title=title, changes=dict(changes), published=published)


_UNPADDED = {"data.padding": "none", "train.batch_size": 1}

GPT2_SMS_SPAM_ABLATION = SuiteSpec(
    description="Which choices matter when fine-tuning GPT-2 for SMS spam: the 19 rows of the"
    " book's bonus experiments",
    base="gpt2-sms-spam",
    changes={"data.split.name": "book-ablation"},
    source="S. Raschka, LLMs-from-scratch, ch06/02_bonus_additional-experiments (README.md)",
    conditions="NVIDIA A100; one run each; final accuracies over the batches of each loader",
    rows=(
        _row("1", "last block, last token", {}, (96.63, 99.33, 95.00), 0.28),
        _row("2", "first token", {"pooling": "first-token"}, (78.46, 80.54, 75.00), 0.28),
        _row("3", "head only", {"freezing": "head-only"}, (78.65, 79.87, 72.00), 0.25),
        _row("4", "last two blocks", {"freezing": "last-blocks:n=2"}, (98.85, 98.66, 98.33), 0.33),
        _row("5", "all layers", {"freezing": "all"}, (99.62, 96.64, 96.67), 0.69),
        _row("6", "medium (355M)", {"backbone.size": "medium"}, (87.50, 91.28, 84.67), 0.75),
        _row("7", "large (774M)", {"backbone.size": "large"}, (99.52, 98.66, 96.67), 1.50),
        _row(
            "8",
            "xl (1558M)",
            {"backbone.size": "xl"},
            (99.81, 99.81, 98.33),
            2.83,
            "99.81 % is impossible with 149 validation texts",
        ),
        _row(
            "9",
            "xl, all layers",
            {"backbone.size": "xl", "freezing": "all"},
            (100.00, 98.66, 98.67),
            8.12,
        ),
        _row(
            "10",
            "random weights, all layers",
            {"backbone.weights": "random", "freezing": "all"},
            (100.00, 96.64, 93.67),
            0.69,
        ),
        _row(
            "11",
            "LoRA, r = 16",
            {"freezing": "head-only", "adapter": "lora:r=16,alpha=16"},
            (100.00, 97.32, 96.67),
            0.75,
        ),
        _row(
            "12",
            "xl, LoRA",
            {"backbone.size": "xl", "freezing": "head-only", "adapter": "lora:r=16,alpha=8"},
            (100.00, 98.66, 98.33),
            5.79,
        ),
        _row("13", "padded to 1,024 tokens", {"data.padding": 1024}, (83.08, 87.92, 78.33), 2.46),
        _row("14", "no padding, batch of 1", _UNPADDED, (100.00, 98.66, 98.00), 1.75),
        _row(
            "15",
            "no padding, 8 batches of 1 a step",
            {**_UNPADDED, "train.accumulation": 8},
            (99.33, 98.66, 98.33),
            1.70,
        ),
        _row("16", "last real token", {"pooling": "last-real-token"}, (99.42, 98.66, 98.33), 0.30),
        _row("17", "no causal mask", {"backbone.causal": False}, (99.23, 98.66, 95.33), 0.29),
        _row(
            "18",
            "padding's id ignored in the loss",
            {"train.ignore_index": 50256},
            (96.63, 99.33, 95.00),
            0.28,
            "changes nothing: labels are 0 and 1",
        ),
        _row(
            "19",
            "mean of all positions",
            {"pooling": "mean:include_padding=true"},
            (97.79, 99.33, 96.33),
            0.32,
        ),
    ),
)

SHOOTOUT = SuiteSpec(
    description="Which approach for your texts (--dataset csv:path=FILE,text=COLUMN,label=COLUMN)?"
    " From cheap to dear, each tuned with the same few trials",
    base="own-texts",
    tune=TuneSpec(space={"train.lr": (3e-5, 1e-4, 5e-4, 2e-3, 1e-2)}, tuner="grid"),
    rows=tuple(
        SuiteRow(label=str(number), title=title, changes={"method": method})
        for number, (title, method) in enumerate(
            (
                ("head only", "head-only"),
                ("last block", "last-block"),
                ("LoRA", "lora"),
                ("all layers", "all"),
            ),
            1,
        )
    ),
)


@clsbench.hookimpl
def clsbench_register_suites() -> Mapping[str, SuiteSpec]:
    """Register ``gpt2-sms-spam-ablation`` and ``shootout``."""
    return {"gpt2-sms-spam-ablation": GPT2_SMS_SPAM_ABLATION, "shootout": SHOOTOUT}
