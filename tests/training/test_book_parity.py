"""Equal to the book in training: split, batch order, losses, accuracies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import clsbench
from book_peer import ch06, peer_classifier, peer_frames, peer_loaders
from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.builtin.gpt2 import GPT2
from clsbench.builtin.gpt2.module import GPT2Module, GPT2Shape, stage_of
from clsbench.builtin.poolings import LastToken
from clsbench.builtin.sms_spam import SmsSpam
from clsbench.catalog import load_catalog
from clsbench.data.splits import split_corpus
from clsbench.data.tokens import TokenizedSplits, tokenize_splits
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import plan_freezing
from clsbench.record import History
from clsbench.spec import DataSettings, SplitSettings, TrainSettings
from clsbench.training.fit import TrainingLog, fit, measure_before
from clsbench.training.schedule import TrainBatch, beforehand, book_schedule
from clsbench.values import Splits

CONTEXT = 128


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def files(assets_dir: Path) -> dict[str, Path]:
    return {
        key: assets_dir / key
        for key in (
            "sms-spam/SMSSpamCollection",
            "gpt2-tokenizer/vocab.bpe",
            "gpt2-tokenizer/encoder.json",
        )
    }


@pytest.fixture(scope="module")
def tokenizer(files: dict[str, Path]) -> Any:
    return GPT2(weights="random").tokenizer(files)


def our_splits(files: dict[str, Path], variant: str) -> Splits:
    corpus = SmsSpam().load(files, "default")
    return split_corpus(corpus, DataSettings(split=SplitSettings(name=variant)))


def our_data(files: dict[str, Path], tokenizer: Any, variant: str = "book") -> TokenizedSplits:
    return tokenize_splits(our_splits(files, variant), tokenizer, "longest-train", 1024)


def our_classifier(
    width: int, blocks: int, heads: int, context: int, seed: int = 123
) -> Classifier:
    torch.manual_seed(seed)
    backbone = GPT2Module(GPT2Shape(width, blocks, heads, context))
    torch.manual_seed(seed)
    return Classifier(backbone, LastToken().build(width), torch.nn.Linear(width, 2))


def train_ours(
    classifier: Classifier,
    data: TokenizedSplits,
    settings: TrainSettings,
    strategy: clsbench.FreezingStrategy,
    steps: int | None = None,
) -> History:
    """Train along the book's schedule; with ``steps``, only its first so many batches."""
    torch.manual_seed(123)
    events = list(book_schedule(len(data.train), len(data.validation), settings))
    if steps is not None:
        events = [e for e in events if getattr(e, "step", steps) < steps]
    parameters = clsbench.describe_parameters(classifier.backbone, stage_of)
    plan = plan_freezing(strategy, parameters, settings.epochs, "under test")
    log = TrainingLog()
    fit(
        classifier, data, events, plan, settings, torch.device("cpu"), "fp32", log,
        load_catalog().lifecycle(),
    )  # fmt: skip
    return log.history()


@pytest.mark.parametrize(("variant", "shuffles"), [("book", 1), ("book-ablation", 2)])
def test_splits_equal_the_books_row_for_row(
    files: dict[str, Path], variant: str, shuffles: int
) -> None:
    frames = peer_frames(files["sms-spam/SMSSpamCollection"], shuffles)
    for split, frame in zip(our_splits(files, variant).all(), frames, strict=True):
        assert list(split.texts) == frame["Text"].tolist()
        assert list(split.labels) == frame["Label"].tolist()


def test_batch_order_equals_the_books(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path
) -> None:
    data = our_data(files, tokenizer)
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        """Keeps what the book's loop trains on."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(input_ids.clone())
            return self.weight.expand(len(input_ids), 1, 2)

    model = Watching()
    torch.manual_seed(123)
    ch06.train_classifier_simple(
        model, loaders.train, loaders.validation,
        torch.optim.SGD(model.parameters(), lr=0.0), torch.device("cpu"), 5, 50, 5,
    )  # fmt: skip
    torch.manual_seed(123)
    settings = TrainSettings()
    ours = [
        event
        for event in book_schedule(len(data.train), len(data.validation), settings)
        if isinstance(event, TrainBatch)
    ]
    assert len(ours) == len(seen) == 650
    for event, batch in zip(ours, seen, strict=True):
        assert torch.equal(data.train.batch(event.indices).input_ids, batch)


def test_the_look_before_training_equals_the_books(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path
) -> None:
    width, blocks, heads = 48, 2, 4
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    splits = {"train": loaders.train, "validation": loaders.validation, "test": loaders.test}
    peer = peer_classifier(width, blocks, heads, CONTEXT)
    cpu = torch.device("cpu")
    torch.manual_seed(123)
    accuracy = {n: ch06.calc_accuracy_loader(x, peer, cpu, 10) for n, x in splits.items()}
    with torch.no_grad():
        loss = {n: ch06.calc_loss_loader(x, peer, cpu, 5) for n, x in splits.items()}
    data = our_data(files, tokenizer)
    ours = our_classifier(width, blocks, heads, CONTEXT)
    torch.manual_seed(123)
    sizes = {name: len(getattr(data, name)) for name in splits}
    found = measure_before(ours, data, beforehand(sizes, TrainSettings()), cpu, "fp32")
    assert found.accuracy == accuracy
    assert found.loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)], ids=["fp64", "fp32"]
)
def test_a_complete_run_equals_the_books(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path, dtype: torch.dtype, tolerance: float
) -> None:
    width, blocks, heads = 48, 3, 4
    settings = TrainSettings()
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    data = our_data(files, tokenizer)
    peer = peer_classifier(width, blocks, heads, CONTEXT).to(dtype)
    ours = our_classifier(width, blocks, heads, CONTEXT).to(dtype)
    with default_dtype(dtype):
        torch.manual_seed(123)
        optimizer = torch.optim.AdamW(peer.parameters(), lr=5e-5, weight_decay=0.1)
        train_losses, validation_losses, train_accuracies, validation_accuracies, examples = (
            ch06.train_classifier_simple(
                peer, loaders.train, loaders.validation, optimizer, torch.device("cpu"), 5, 50, 5
            )
        )
        history = train_ours(ours, data, settings, LastBlocks())
    assert [entry.step for entry in history.steps] == list(range(0, 650, 50))
    assert [e.train_loss for e in history.steps] == pytest.approx(train_losses, rel=tolerance)
    assert [e.validation_loss for e in history.steps] == pytest.approx(
        validation_losses, rel=tolerance
    )
    assert [e.train_accuracy for e in history.epochs] == train_accuracies
    assert [e.validation_accuracy for e in history.epochs] == validation_accuracies
    assert history.epochs[-1].examples_seen == examples == 5200


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_gpt2_small_equals_the_book_for_20_steps(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path
) -> None:
    """Random weights, float32, real corpus: the loss of each of the first 20 batches."""
    steps = 20
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    data = our_data(files, tokenizer)
    settings = TrainSettings(eval_every=1, eval_batches=1)
    peer = peer_classifier(768, 12, 12, 1024)
    losses: list[tuple[float, float]] = []

    class EnoughError(Exception):
        """Ends the book's loop, which knows no maximum of steps."""

    class Recording(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            if len(losses) == steps:
                raise EnoughError
            return super().step(closure)

    original = ch06.evaluate_model

    def recording(*arguments: Any) -> tuple[float, float]:
        result: tuple[float, float] = original(*arguments)
        losses.append(result)
        return result

    optimizer = Recording(peer.parameters(), lr=5e-5, weight_decay=0.1)
    torch.manual_seed(123)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ch06, "evaluate_model", recording)
        with pytest.raises(EnoughError):
            ch06.train_classifier_simple(
                peer, loaders.train, loaders.validation, optimizer, torch.device("cpu"), 1, 1, 1
            )
    del peer, optimizer
    history = train_ours(our_classifier(768, 12, 12, 1024), data, settings, LastBlocks(), steps)
    assert len(history.steps) == steps
    for entry, (train_loss, validation_loss) in zip(history.steps, losses, strict=True):
        assert entry.train_loss == pytest.approx(train_loss, abs=1e-5)
        assert entry.validation_loss == pytest.approx(validation_loss, abs=1e-5)
