"""Poolings, heads and tokenizers alone, on activations of GPT-2 small's shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from catalog_by_default import component, names
from clsbench.bench.phases import PhaseWorkload
from clsbench.bench.sampling import Workload
from clsbench.bench.subject import Subject

TEXTS, POSITIONS, WIDTH, CLASSES = 8, 120, 768, 2


def workload(
    name: str, device: torch.device, real_tokens: int, do: Callable[[], object]
) -> PhaseWorkload:
    return PhaseWorkload(
        name=name,
        phase=name,
        device=device,
        examples=TEXTS,
        real_tokens=real_tokens,
        padded_tokens=TEXTS * POSITIONS,
        prepare=lambda stack: None,
        do=do,
    )


@pytest.mark.parametrize("name", names("poolings"))
@pytest.mark.benchmark(group="poolings, forward and backward")
def test_pooling(timed: Callable[[Workload], None], device: torch.device, name: str) -> None:
    pooling = component("poolings", name).build(WIDTH).to(device)
    hidden = torch.rand(TEXTS, POSITIONS, WIDTH, device=device, requires_grad=True)
    lengths = torch.linspace(5, POSITIONS, TEXTS).long().to(device)

    def pool() -> None:
        pooling(hidden, lengths).sum().backward()
        hidden.grad = None

    timed(workload("pooling", device, int(lengths.sum()), pool))


@pytest.mark.parametrize("name", names("heads"))
@pytest.mark.benchmark(group="heads, forward and backward")
def test_head(timed: Callable[[Workload], None], device: torch.device, name: str) -> None:
    head = component("heads", name).build(WIDTH, CLASSES).to(device)
    pooled = torch.rand(TEXTS, WIDTH, device=device, requires_grad=True)

    def classify() -> None:
        head(pooled).sum().backward()
        pooled.grad = None

    timed(workload("head", device, TEXTS, classify))


@pytest.mark.benchmark(group="tokenizers")
def test_tokenizer(
    timed: Callable[[Workload], None],
    make_subject: Callable[[torch.device, dict[str, object]], Subject],
) -> None:
    """Of the backbone that is timed, on eighty texts of a word to a paragraph."""
    subject = make_subject(torch.device("cpu"), {})
    texts = [text * times for text in subject.texts for times in range(1, 11)]
    tokens = sum(len(subject.encoder.encode(text).ids) for text in texts)

    def encode() -> None:
        for text in texts:
            subject.encoder.encode(text)

    timed(workload("tokenize", torch.device("cpu"), tokens, encode))
