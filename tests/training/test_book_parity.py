"""Training equals the book's code: splits, batch order, losses and accuracies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from book_peer import ch06, peer_classifier, peer_frames, peer_loaders
from fast_and_plain import IN_FLOAT32, default_dtype
from recipes import make_recipe

import clsbench
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.backbones.gpt2.module import GPT2Module, GPT2Shape, stage_of
from clsbench.builtin.datasets.sms_spam import SmsSpam
from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.builtin.poolings import LastToken
from clsbench.components.catalog import load_catalog
from clsbench.components.values import Splits
from clsbench.data.splits import split_corpus
from clsbench.data.tokens import TokenizedSplits, TokenRows, tokenize_splits
from clsbench.fastpath.fast_forward import FastForward, Shortcuts
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.plan import Batching, plan_fast_path
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import plan_freezing
from clsbench.schema.experiment import DataSettings, SplitSettings
from clsbench.schema.record import History
from clsbench.schema.training import TrainSettings
from clsbench.training.fit import fit, measure_before
from clsbench.training.log import TrainingLog
from clsbench.training.schedule import TrainBatch, beforehand, book_schedule

CONTEXT = 128


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
    corpus = SmsSpam().load(files)
    return split_corpus(corpus, DataSettings(split=SplitSettings(name=variant), balance=True))


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
    shape: GPT2Shape,
    fast: bool,
    device: torch.device,
) -> History:
    """Train with the book's schedule, with all shortcuts or without any."""
    torch.manual_seed(123)
    events = list(book_schedule(len(data.train), len(data.validation), settings))
    parameters = clsbench.describe_parameters(classifier.backbone, stage_of)
    freezing = plan_freezing(strategy, parameters, settings.epochs, "under test")
    classifier = classifier.to(device)
    forward: Forward = PlainForward(classifier, data.by_name(), device, "fp32")
    if fast:
        with clsbench.without_weights():
            pooling, head = LastToken().build(shape.width), torch.nn.Linear(shape.width, 2)
            outline = Classifier(GPT2Module(shape), pooling, head)
        batching = Batching(padded=True, batch_size=settings.batch_size, positions=2)
        plan = plan_fast_path(outline, LastToken(), freezing, batching)
        room = Room(memory_bytes=2**33, disk=None)
        shortcuts = Shortcuts(plan, LastToken(), room, lambda cut: None)
        forward = FastForward(classifier, data.by_name(), device, "fp32", shortcuts)
    forward.prepare(lambda done, total: None)
    log = TrainingLog()
    fit(forward, events, freezing, make_recipe(settings, 2), log, load_catalog().lifecycle())
    return log.history()


def first_texts(data: TokenizedSplits, texts: int, max_length: int) -> TokenizedSplits:
    """The first ``texts`` texts of each split, padded to ``max_length``."""
    parts = [
        TokenRows(
            rows.input_ids[:texts, :max_length],
            rows.lengths[:texts].clamp(max=max_length),
            rows.labels[:texts],
            truncated=0,
            padded=True,
        )
        for rows in data.by_name().values()
    ]
    return TokenizedSplits(*parts, max_length=max_length)


@pytest.mark.parametrize(("variant", "shuffles"), [("book", 1), ("book-ablation", 2)])
def test_split_corpus_rows_equal_the_books(
    files: dict[str, Path], variant: str, shuffles: int
) -> None:
    frames = peer_frames(files["sms-spam/SMSSpamCollection"], shuffles)
    for split, frame in zip(our_splits(files, variant).all(), frames, strict=True):
        assert list(split.texts) == frame["Text"].tolist()
        assert list(split.labels) == frame["Label"].tolist()


def test_book_schedule_batch_order_equals_the_books(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path
) -> None:
    data = our_data(files, tokenizer)
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        """Records the batches of the book's training loop."""

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


def test_measure_before_equals_the_books(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path, device: torch.device
) -> None:
    width, blocks, heads = 48, 2, 4
    loaders = peer_loaders(files["sms-spam/SMSSpamCollection"], tokenizer, tmp_path)
    splits = {"train": loaders.train, "validation": loaders.validation, "test": loaders.test}
    peer = peer_classifier(width, blocks, heads, CONTEXT).to(device)
    torch.manual_seed(123)
    accuracy = {n: ch06.calc_accuracy_loader(x, peer, device, 10) for n, x in splits.items()}
    with torch.no_grad():
        loss = {n: ch06.calc_loss_loader(x, peer, device, 5) for n, x in splits.items()}
    data = our_data(files, tokenizer)
    ours = our_classifier(width, blocks, heads, CONTEXT).to(device)
    torch.manual_seed(123)
    sizes = {name: len(getattr(data, name)) for name in splits}
    forward = PlainForward(ours, data.by_name(), device, "fp32")
    found = measure_before(forward, beforehand(sizes, TrainSettings()))
    assert found.accuracy == accuracy
    assert found.loss == pytest.approx(loss, rel=1e-5)


_RUN_SIZES = (24, 3, 2, CONTEXT)
_RUN_SHAPE = GPT2Shape(*_RUN_SIZES)

BooksFigures = tuple[list[float], list[float], list[float], list[float], int]
"""Losses and accuracies, each of training and validation, and the number of examples seen."""


@pytest.fixture(scope="module")
def books_run(
    files: dict[str, Path],
    tokenizer: Any,
    tmp_path_factory: pytest.TempPathFactory,
    device: torch.device,
) -> BooksFigures:
    """The results of a complete run of the book's code in float64."""
    corpus = files["sms-spam/SMSSpamCollection"]
    loaders = peer_loaders(corpus, tokenizer, tmp_path_factory.mktemp("book"))
    peer = peer_classifier(*_RUN_SIZES).to(device, torch.float64)
    with default_dtype(torch.float64):
        torch.manual_seed(123)
        optimizer = torch.optim.AdamW(peer.parameters(), lr=5e-5, weight_decay=0.1)
        figures: BooksFigures = ch06.train_classifier_simple(
            peer, loaders.train, loaders.validation, optimizer, device, 5, 50, 5
        )
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_fit_complete_run_equals_the_books(
    books_run: BooksFigures,
    files: dict[str, Path],
    tokenizer: Any,
    fast: bool,
    device: torch.device,
) -> None:
    """In float64; ``benchmarks/fast_path.py --whole`` compares complete runs in float32."""
    train_losses, validation_losses, train_accuracies, validation_accuracies, examples = books_run
    data = our_data(files, tokenizer)
    ours = our_classifier(*_RUN_SIZES).to(torch.float64)
    with default_dtype(torch.float64):
        torch.manual_seed(123)
        history = train_ours(ours, data, TrainSettings(), LastBlocks(), _RUN_SHAPE, fast, device)
    assert [entry.step for entry in history.steps] == list(range(0, 650, 50))
    assert [e.train_loss for e in history.steps] == pytest.approx(train_losses, rel=1e-8)
    assert [e.validation_loss for e in history.steps] == pytest.approx(validation_losses, rel=1e-8)
    assert [e.train_accuracy for e in history.epochs] == train_accuracies
    assert [e.validation_accuracy for e in history.epochs] == validation_accuracies
    assert history.epochs[-1].examples_seen == examples == 5200


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_fit_gpt2_small_on_the_fast_path_equals_the_book_for_50_steps(
    files: dict[str, Path], tokenizer: Any, tmp_path: Path, device: torch.device
) -> None:
    """Compares the losses after every fifth step, in float32 with random weights. There are few
    texts, so that every text is seen several times; more than half of them are cut."""
    epochs, texts, length, every = 5, 80, 32, 5
    corpus = files["sms-spam/SMSSpamCollection"]
    loaders = peer_loaders(corpus, tokenizer, tmp_path, texts=texts, max_length=length)
    data = first_texts(our_data(files, tokenizer), texts, length)
    settings = TrainSettings(epochs=epochs, eval_every=every, eval_batches=1)
    peer = peer_classifier(768, 12, 12, 1024).to(device)
    optimizer = torch.optim.AdamW(peer.parameters(), lr=5e-5, weight_decay=0.1)
    torch.manual_seed(123)
    train_losses, validation_losses, *_ = ch06.train_classifier_simple(
        peer, loaders.train, loaders.validation, optimizer, device, epochs, every, 1
    )
    del peer, optimizer
    ours = our_classifier(768, 12, 12, 1024)
    shape = GPT2Shape(768, 12, 12)
    history = train_ours(ours, data, settings, LastBlocks(), shape, True, device)
    assert [entry.step for entry in history.steps] == list(range(0, 50, every))
    tolerance = IN_FLOAT32[device.type]
    losses = zip(train_losses, validation_losses, strict=True)
    for entry, (train_loss, validation_loss) in zip(history.steps, losses, strict=True):
        assert entry.train_loss == pytest.approx(train_loss, abs=tolerance)
        assert entry.validation_loss == pytest.approx(validation_loss, abs=tolerance)
