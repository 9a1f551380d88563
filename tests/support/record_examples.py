"""Records of typical runs, for tests that read records."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import msgspec
import numpy as np
from metric_examples import SHOWN

from clsbench.analysis.metrics import split_metrics
from clsbench.schema.experiment import PublishedFigures
from clsbench.schema.record import (
    BaselineResult,
    ComponentIdentity,
    DataFacts,
    Environment,
    EpochEntry,
    History,
    Leaked,
    Metrics,
    ParameterCounts,
    RunRecord,
    SplitMetrics,
    StageParameters,
    StandIn,
    StepEntry,
    Throughput,
)

SIZES = {"train": 1045, "validation": 149, "test": 300}
LEAKED = {"train": 0, "validation": 13, "test": 37}

PUBLISHED = PublishedFigures(
    source="Raschka, Build a Large Language Model (From Scratch), chapter 6",
    conditions="MacBook Air M3, MPS; the training accuracy over 1,040 texts",
    accuracy={"train": 0.9721, "validation": 0.9732, "test": 0.9567},
    losses=(
        (0, 2.153, 2.392),
        (50, 0.617, 0.637),
        (100, 0.523, 0.557),
        (150, 0.561, 0.489),
        (200, 0.419, 0.397),
        (250, 0.409, 0.353),
        (300, 0.333, 0.320),
        (350, 0.340, 0.306),
        (400, 0.136, 0.200),
        (450, 0.153, 0.132),
        (500, 0.222, 0.137),
        (550, 0.207, 0.143),
        (600, 0.083, 0.074),
    ),
)

STAND_INS = (
    StandIn(
        axis="dataset",
        replaced="sms-spam",
        by="synthetic-sms:texts=1494",
        reason="offline, and not found: sms-spam/SMSSpamCollection",
    ),
    StandIn(
        axis="backbone",
        replaced="gpt2:size=small,weights=pretrained,causal=true",
        by="gpt2-nano",
        reason="offline, and not found: gpt2/model.safetensors",
    ),
)


@functools.cache
def make_metrics(
    accuracy: float = 0.95, num_classes: int = 2, seed: int = 0, with_loss: bool = True
) -> Metrics:
    """Metrics of a classifier with this accuracy, on splits of the book's sizes."""
    generator = np.random.default_rng(seed)

    def split(name: str) -> SplitMetrics:
        labels = generator.integers(0, num_classes, SIZES[name])
        wrong = generator.random(SIZES[name]) > accuracy
        predicted = np.where(wrong, (labels + 1) % num_classes, labels)
        flags = np.zeros(SIZES[name], dtype=bool)
        flags[: LEAKED[name]] = True
        loss = float(1 - accuracy + generator.random() / 20) if with_loss else None
        return split_metrics(
            labels, predicted, num_classes, metrics=SHOWN.components, loss=loss, leaked=flags
        )

    return Metrics(train=split("train"), validation=split("validation"), test=split("test"))


def make_history(epochs: int = 5, batches: int = 130, eval_every: int = 50) -> History:
    """A training history with the book's evaluation points."""
    generator = np.random.default_rng(1)
    steps = tuple(
        StepEntry(
            step=step,
            epoch=step // batches + 1,
            examples_seen=(step + 1) * 8,
            train_loss=float(2.1 * np.exp(-step / 150) + generator.random() / 10),
            validation_loss=float(2.3 * np.exp(-step / 150) + generator.random() / 10),
            seconds=step * 0.25,
        )
        for step in range(0, epochs * batches, eval_every)
    )
    by_epoch = tuple(
        EpochEntry(
            epoch=epoch,
            examples_seen=epoch * batches * 8,
            train_accuracy=float(1 - 0.5 * np.exp(-epoch)),
            validation_accuracy=float(1 - 0.55 * np.exp(-epoch)),
            trainable_parameters=7_092_482,
            seconds=epoch * 33.0,
        )
        for epoch in range(1, epochs + 1)
    )
    return History(steps=steps, epochs=by_epoch)


def make_parameters() -> ParameterCounts:
    """GPT-2 small with its last block and final norm trained."""
    blocks = tuple(
        StageParameters(stage=f"block.{i}", total=7_087_872, trainable=7_087_872 if i == 11 else 0)
        for i in range(12)
    )
    stages = (
        StageParameters(stage="embeddings", total=39_383_808, trainable=0),
        *blocks,
        StageParameters(stage="final_norm", total=1536, trainable=1536),
        StageParameters(stage="head", total=1538, trainable=1538),
    )
    return ParameterCounts(
        total=sum(s.total for s in stages),
        trainable=sum(s.trainable for s in stages),
        stages=stages,
    )


def make_spec(seed: int = 123, freezing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A resolved spec, as stored in a record."""
    return {
        "name": "gpt2-sms-spam",
        "description": "Chapter 6 of the book",
        "dataset": {"name": "sms-spam", "quoting": "default"},
        "backbone": {"name": "gpt2", "size": "small", "weights": "pretrained", "causal": True},
        "pooling": {"name": "last-token"},
        "head": {"name": "linear"},
        "freezing": freezing or {"name": "last-blocks", "n": 1},
        "baselines": [{"name": "majority"}, {"name": "tfidf-logreg", "ngrams": 1, "c": 1.0}],
        "data": {
            "split": {"name": "book", "train": 0.7, "validation": 0.1, "seed": 123},
            "balance": True,
            "padding": "longest-train",
        },
        "train": {
            "epochs": 5,
            "batch_size": 8,
            "lr": 5e-5,
            "weight_decay": 0.1,
            "optimizer": {"name": "adamw", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
            "schedule": {"name": "constant", "warmup": 0.0},
            "loss": {"name": "cross-entropy", "class_weights": "none", "label_smoothing": 0.0},
            "gradient_clipping": 0.0,
            "layer_decay": 1.0,
            "select": "last",
            "patience": 0,
            "accumulation": 1,
            "eval_every": 50,
            "eval_batches": 5,
        },
        "metric": "accuracy",
        "seed": seed,
    }


def make_record(**changes: Any) -> RunRecord:
    """The record of a finished run of the founding experiment, with some fields changed."""
    seed = changes.pop("seed", 123)
    spec = changes.get("spec") or make_spec(seed)
    key = hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:16]
    record = RunRecord(
        status="finished",
        experiment="gpt2-sms-spam",
        fingerprint="0123456789abcdef",
        run_key=key,
        created="2025-11-21T10:17:29.123456+00:00",
        spec=spec,
        spec_fingerprint="fedcba9876543210",
        modified=False,
        published=PUBLISHED,
        stand_ins=(),
        plugins=(
            ComponentIdentity(
                axis="freezing", component="last-blocks", distribution="clsbench", version="0.1.0"
            ),
        ),
        environment=Environment(
            device="cpu",
            device_name="AMD EPYC 9R14",
            precision="fp32",
            threads=2,
            deterministic=False,
            clsbench="0.1.0",
            python="3.12.3",
            torch="2.13.0+cpu",
            platform="Linux-6.8-x86_64",
            cpu="AMD EPYC 9R14",
            cpu_count=2,
            memory_bytes=50_000_000_000,
        ),
        data=DataFacts(
            class_names=("ham", "spam"),
            sizes=dict(SIZES),
            class_counts={
                "train": {"ham": 517, "spam": 528},
                "validation": {"ham": 74, "spam": 75},
                "test": {"ham": 156, "spam": 144},
            },
            batches={"train": 130, "validation": 19, "test": 38},
            max_length=120,
            padding_fraction=0.7467,
            truncated={"train": 0, "validation": 0, "test": 1},
            leaked=Leaked(validation=13, test=37),
            sha256="ab" * 32,
            corpus_texts=5572,
        ),
        parameters=make_parameters(),
        memory_bytes_expected=1_234_567_890,
        peak_memory_bytes=1_100_000_000,
        assets={"sms-spam/SMSSpamCollection": "7d" * 32},
        history=make_history(),
        metrics=make_metrics(),
        baselines=(
            BaselineResult(
                component="majority",
                metrics=make_metrics(0.5, seed=2, with_loss=False),
                seconds=0.01,
            ),
            BaselineResult(
                component="tfidf-logreg:ngrams=1,c=1.0",
                metrics=make_metrics(0.97, seed=3, with_loss=False),
                seconds=0.4,
            ),
        ),
        phases_seconds={
            "assets": 0.1,
            "data": 1.2,
            "model": 3.4,
            "training": 167.8,
            "evaluation": 21.0,
            "baselines": 0.4,
        },
        throughput=Throughput(
            examples_per_second=31.2,
            real_tokens_per_second=948.0,
            padded_tokens_per_second=3744.0,
        ),
    )
    return msgspec.structs.replace(record, **changes)
