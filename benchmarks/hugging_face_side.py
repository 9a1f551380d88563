"""The usual loop of transformers on the texts and weights of a workload."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from clsbench.data.tokens import TokenRows
from clsbench.model.classifier import Classifier
from workload import Workload


class MeanPooled(nn.Module):
    """A base model with a linear layer on the mean of the real tokens' hidden states."""

    def __init__(self, base: Any, head: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) int64 both → logits (B, C)."""
        hidden = self.base(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        logits: Tensor = self.head((hidden * mask).sum(dim=1) / mask.sum(dim=1))
        return logits


class LastPooled(nn.Module):
    """The decoder's own class of transformers for classification."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) int64 both → logits (B, C)."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


class HuggingFaceSide:
    """Trains the model of ``folder`` with the head of our ``classifier``, in the same order.

    Batches are padded to their longest text. The last block, the final norm (if any) and the head
    train, with fused AdamW and the attention that transformers chooses.
    """

    def __init__(self, workload: Workload, folder: Path, classifier: Classifier) -> None:
        self._workload = workload
        self.model = _model(folder, classifier, workload).train()
        self._classifier = classifier
        self._freeze()
        settings = workload.experiment.spec.train
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            trained, lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self.trainable = sum(parameter.numel() for parameter in trained)
        rows = workload.rows["train"]
        self._batches = itertools.cycle([(rows, event.indices) for event in workload.batches])

    def _freeze(self) -> None:
        """Train what our classifier trains: parameters with equal values, by their names' ends."""
        ours = [
            name.removeprefix("backbone.")
            for name, parameter in self._classifier.named_parameters()
            if parameter.requires_grad and name.startswith("backbone.")
        ]
        for name, parameter in self.model.named_parameters():
            is_head = name.startswith("head.") or ".score." in name
            parameter.requires_grad_(is_head or any(name.endswith(f".{each}") for each in ours))

    def step(self) -> float:
        """Run one training step; return its loss."""
        return self._train(*next(self._batches))

    def _train(self, rows: TokenRows, indices: Sequence[int]) -> float:
        input_ids, mask, labels = _padded(rows, indices)
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self.model(input_ids, mask), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.item()

    def whole_run(self, epochs: int) -> float:
        """Train ``epochs`` epochs and classify all texts; return the accuracy on test."""
        splits = self._workload.data.tokens.by_name()
        size = self._workload.experiment.spec.train.batch_size
        order = torch.Generator().manual_seed(self._workload.experiment.spec.seed)
        train = splits["train"]
        for _ in range(epochs):
            shuffled = torch.randperm(len(train), generator=order).tolist()
            for indices in _batches(shuffled, size):
                if len(indices) == size:
                    self._train(train, indices)
        self.model.eval()
        accuracy = 0.0
        with torch.no_grad():
            for rows in splits.values():
                right = 0
                for indices in _batches(range(len(rows)), size):
                    input_ids, mask, labels = _padded(rows, indices)
                    right += int((self.model(input_ids, mask).argmax(dim=-1) == labels).sum())
                accuracy = right / len(rows)
        return accuracy  # of the last split, test


def _config(folder: Path) -> Any:
    """The config without dropout, as on our side."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    return config


def _model(folder: Path, classifier: Classifier, workload: Workload) -> nn.Module:
    head: Any = classifier.out_head
    config = _config(folder)
    if workload.setting.real_token:
        config.num_labels = len(workload.data.facts.class_names)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True
        )
        tokenizer = workload.experiment.backbone.tokenizer(workload.files.files)
        model.config.pad_token_id = tokenizer.pad_token_id
        with torch.no_grad():
            model.score.weight.copy_(head.weight)
        return LastPooled(model)
    base = AutoModel.from_pretrained(
        folder, config=config, dtype=torch.float32, local_files_only=True
    )
    copy = nn.Linear(head.in_features, head.out_features)
    copy.load_state_dict(head.state_dict())
    return MeanPooled(base, copy)


def _padded(rows: TokenRows, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids and mask (B, T) of the texts, padded to the longest of them, and labels (B,)."""
    batch = rows.batch(indices)
    widest = int(batch.lengths.max())
    mask = torch.arange(widest) < batch.lengths[:, None]
    return batch.input_ids[:, :widest], mask.long(), batch.labels


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
