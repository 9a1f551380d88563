"""What a stored classifier holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from clsbench.model.checkpoint import (
    ClassifierFacts,
    frozen_sha256,
    read_facts,
    restore,
    save_classifier,
    stored_state,
)


class Tied(nn.Module):
    """An embedding that is its output layer's weight too, as in a language model."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(3)


@pytest.mark.parametrize("trained", [{"embedding.weight"}, set()])
def test_tied_parameters_are_stored_once_or_not_at_all(tmp_path: Path, trained: set[str]) -> None:
    module, names = Tied(1), frozenset(trained)
    buffers = {name for name, _ in module.named_buffers()}
    assert stored_state(module, names).keys() == trained | buffers
    facts = ClassifierFacts(
        spec={},
        class_names=("a", "b"),
        max_length=7,
        padded=True,
        frozen_sha256=frozen_sha256(module, names),
    )
    save_classifier(module, names, facts, tmp_path)
    again = Tied(2 if trained else 1)
    restore(again, read_facts(tmp_path), tmp_path)
    assert torch.equal(again.output.weight, module.embedding.weight)
