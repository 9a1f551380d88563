"""The book's own code (the PyPI package ``llms-from-scratch``) as a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch

ch04 = pytest.importorskip(
    "llms_from_scratch.ch04",
    reason="the peer is absent: pip install --no-deps llms-from-scratch==1.0.19",
)
ch06 = pytest.importorskip("llms_from_scratch.ch06")


class PeerLoaders(NamedTuple):
    """The book's loaders of its three data sets."""

    train: Any
    validation: Any
    test: Any


def peer_frames(corpus: Path, shuffles: int = 1) -> tuple[pd.DataFrame, ...]:
    """The book's train, validation and test frames; the bonus script shuffles twice."""
    frame = pd.read_csv(corpus, sep="\t", header=None, names=["Label", "Text"])
    balanced = ch06.create_balanced_dataset(frame)
    balanced["Label"] = balanced["Label"].map({"ham": 0, "spam": 1})
    for _ in range(shuffles - 1):
        balanced = balanced.sample(frac=1, random_state=123).reset_index(drop=True)
    frames: tuple[pd.DataFrame, ...] = ch06.random_split(balanced, 0.7, 0.1)
    return frames


def peer_loaders(
    corpus: Path,
    tokenizer: Any,
    folder: Path,
    shuffles: int = 1,
    texts: int | None = None,
    max_length: int | None = None,
) -> PeerLoaders:
    """The book's loaders; ``texts`` is the number of texts to keep of each split, and
    ``max_length`` the number of tokens of each, by default that of the longest training text."""
    for name, frame in zip(
        ("train", "validation", "test"), peer_frames(corpus, shuffles), strict=True
    ):
        frame[:texts].to_csv(folder / f"{name}.csv", index=None)
    train = ch06.SpamDataset(folder / "train.csv", tokenizer, max_length=max_length)
    others = [
        ch06.SpamDataset(folder / f"{name}.csv", tokenizer, max_length=train.max_length)
        for name in ("validation", "test")
    ]
    return PeerLoaders(
        torch.utils.data.DataLoader(train, batch_size=8, shuffle=True, drop_last=True),
        *(torch.utils.data.DataLoader(other, batch_size=8) for other in others),
    )


def peer_classifier(width: int, blocks: int, heads: int, context: int, seed: int = 123) -> Any:
    """The book's classifier with random weights; the last block, final norm and head train."""
    torch.manual_seed(seed)
    model = ch04.GPTModel(
        {
            "vocab_size": 50257,
            "context_length": context,
            "emb_dim": width,
            "n_heads": heads,
            "n_layers": blocks,
            "drop_rate": 0.0,
            "qkv_bias": True,
        }
    )
    for parameter in model.parameters():
        parameter.requires_grad = False
    torch.manual_seed(seed)
    model.out_head = torch.nn.Linear(width, 2)
    for module in (model.trf_blocks[-1], model.final_norm):
        for parameter in module.parameters():
            parameter.requires_grad = True
    return model
