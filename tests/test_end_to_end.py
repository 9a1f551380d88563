"""The founding experiment on the stand-ins: accuracy and loss by trained layers."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

import clsbench
from clsbench.schema.record import RunRecord

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_freezing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunRecord]:
    """The book's settings, but two epochs with ``all``; a baseline once, with ``all``."""
    return {
        freezing: run_on_stand_ins(freezing, "pretrained", tmp_path_factory.mktemp("runs"))
        for freezing in ("head-only", "last-blocks", "all")
    }


def run_on_stand_ins(freezing: str, weights: str, out: Path) -> RunRecord:
    settings: dict[str, object] = {"baselines": []}
    if freezing == "all":  # its epochs are long, and two suffice
        settings = {"baselines": ["tfidf-logreg"], "train.epochs": 2}
    return clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms",
        backbone=f"gpt2-nano:weights={weights}",
        freezing=freezing,
        settings=settings,
        device="cpu",
        out=out,
    )


def accuracy_on_all_texts(record: RunRecord) -> float:
    assert record.metrics is not None
    parts = (record.metrics.train, record.metrics.validation, record.metrics.test)
    return sum(part.accuracy * part.n for part in parts) / sum(part.n for part in parts)


def test_run_last_block_is_more_accurate_than_head_only(by_freezing: dict[str, RunRecord]) -> None:
    accuracy = {
        name: record.metrics.test.accuracy
        for name, record in by_freezing.items()
        if record.metrics is not None
    }
    assert accuracy["last-blocks"] >= 0.80
    assert accuracy["head-only"] < accuracy["last-blocks"] - 0.03


def test_run_accuracy_rises_with_trained_layers_and_pretraining(
    by_freezing: dict[str, RunRecord], tmp_path: Path
) -> None:
    """Frozen layers need pretraining."""
    found = {name: accuracy_on_all_texts(record) for name, record in by_freezing.items()}
    assert found["last-blocks"] > 0.85
    assert found["head-only"] + 0.02 < found["last-blocks"]
    assert found["last-blocks"] + 0.01 < found["all"]
    without = accuracy_on_all_texts(run_on_stand_ins("last-blocks", "random", tmp_path))
    assert without + 0.05 < found["last-blocks"]


def test_run_train_loss_falls_with_trained_parameters(by_freezing: dict[str, RunRecord]) -> None:
    losses = [
        record.metrics.train.loss for record in by_freezing.values() if record.metrics is not None
    ]
    assert losses == sorted(losses, reverse=True)
    assert all(loss is not None for loss in losses)


def test_tfidf_baseline_accuracy_is_high_but_not_perfect(by_freezing: dict[str, RunRecord]) -> None:
    record = by_freezing["all"]
    (tfidf,) = (b for b in record.baselines if b.component.startswith("tfidf"))
    assert 0.90 <= tfidf.metrics.test.accuracy <= 0.985


def test_run_csv_file_with_three_classes_is_learned(tmp_path: Path) -> None:
    topics = {
        "weather": (["rain", "sunshine", "a storm", "snow", "fog"], "is on its way to the coast"),
        "sport": (["the striker", "our goalkeeper", "the coach", "her rival"], "won the match"),
        "cooking": (["butter", "an onion", "fresh basil", "the dough"], "goes into the hot pan"),
    }
    draw = random.Random(0)
    path = tmp_path / "topics.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(360):
            label = list(topics)[number % 3]
            subjects, rest = topics[label]
            when = draw.choice(["today", "again", "this evening", "once more", "at last"])
            writer.writerow([f"{draw.choice(subjects)} {rest} {when}", label])
    record = clsbench.run(
        "gpt2-sms-spam",
        dataset=f"csv:path={path}",
        backbone="gpt2-nano",
        freezing="all",
        settings={"train.lr": 1e-3, "train.epochs": 3},
        device="cpu",
        out=tmp_path / "runs",
    )
    assert record.data is not None
    assert record.data.class_names == ("cooking", "sport", "weather")
    assert record.metrics is not None
    assert record.metrics.test.accuracy >= 0.80
