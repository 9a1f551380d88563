"""The founding experiment on the stand-ins in full: real transfer learning, visibly so."""

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
    """The book's hyperparameters, three freezing strategies."""
    return {
        freezing: clsbench.run(
            "gpt2-sms-spam",
            dataset="synthetic-sms",
            backbone="gpt2-nano",
            freezing=freezing,
            device="cpu",
            out=tmp_path_factory.mktemp("runs"),
        )
        for freezing in ("head-only", "last-blocks", "all")
    }


def test_accuracies(by_freezing: dict[str, RunRecord]) -> None:
    accuracy = {
        name: record.metrics.test.accuracy
        for name, record in by_freezing.items()
        if record.metrics is not None
    }
    assert accuracy["last-blocks"] >= 0.80
    assert accuracy["head-only"] < accuracy["last-blocks"] - 0.03


def test_the_more_is_trained_the_better_it_fits(by_freezing: dict[str, RunRecord]) -> None:
    losses = [
        record.metrics.train.loss for record in by_freezing.values() if record.metrics is not None
    ]
    assert losses == sorted(losses, reverse=True)
    assert all(loss is not None for loss in losses)


def test_it_is_no_walkover_for_words_alone(by_freezing: dict[str, RunRecord]) -> None:
    record = by_freezing["all"]
    (tfidf,) = (b for b in record.baselines if b.component.startswith("tfidf"))
    assert 0.90 <= tfidf.metrics.test.accuracy <= 0.985


def test_three_classes_from_a_file_of_ones_own(tmp_path: Path) -> None:
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
