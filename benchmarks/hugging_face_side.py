"""The usual loop of transformers on the texts and weights of a workload."""

from __future__ import annotations

import copy
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


class BasePooled(nn.Module):
    """A base model with the pooling and the head of our classifier, under the same names."""

    def __init__(self, base: Any, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = base
        self.pooling = pooling
        self.out_head = head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 both, lengths (B,) int64 → logits (B, C)."""
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        logits: Tensor = self.out_head(self.pooling(states.last_hidden_state, lengths))
        return logits


class LastPooled(nn.Module):
    """The decoder's own class of transformers for classification."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 both, lengths (B,) int64 → logits (B, C)."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


class HuggingFaceSide:
    """Trains the model of ``folder`` with the head of our ``classifier``, in the same order.

    Batches are padded to their longest text, or to the length of ours if the pooling reads padding,
    which then counts as text. The same parameters train, with fused AdamW and the attention that
    transformers chooses.
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
        """Train what our classifier trains, by the parameters' names."""
        if isinstance(self.model, BasePooled):
            flags = {n: p.requires_grad for n, p in self._classifier.named_parameters()}
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(flags.get(name, False))
            return
        ours = [
            name.removeprefix("backbone.")
            for name, parameter in self._classifier.named_parameters()
            if parameter.requires_grad and name.startswith("backbone.")
        ]
        for name, parameter in self.model.named_parameters():
            ends = any(name.endswith(f".{each}") for each in ours)
            parameter.requires_grad_(".score." in name or ends)

    def step(self) -> float:
        """Run one training step; return its loss."""
        return self._train(*next(self._batches))

    def _train(self, rows: TokenRows, indices: Sequence[int]) -> float:
        input_ids, mask, lengths, labels = self._padded(rows, indices)
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self.model(input_ids, mask, lengths), labels)
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
                    *inputs, labels = self._padded(rows, indices)
                    right += int((self.model(*inputs).argmax(dim=-1) == labels).sum())
                accuracy = right / len(rows)
        return accuracy  # of the last split, test

    def _padded(
        self, rows: TokenRows, indices: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token ids and mask (B, T), lengths (B,) and labels (B,) of a batch."""
        batch = rows.batch(indices)
        if self._workload.experiment.pooling.reads_padding():
            return batch.input_ids, torch.ones_like(batch.input_ids), batch.lengths, batch.labels
        widest = int(batch.lengths.max())
        mask = torch.arange(widest) < batch.lengths[:, None]
        return batch.input_ids[:, :widest], mask.long(), batch.lengths, batch.labels


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
    return _like(classifier, base, workload)


def _like(classifier: Classifier, base: Any, workload: Workload) -> BasePooled:
    """The base model with pooling, head, adapter and weights of our classifier."""
    experiment = workload.experiment
    model = BasePooled(base, copy.deepcopy(classifier.pooling), copy.deepcopy(classifier.out_head))
    if experiment.adapter is not None:
        _adapt(model, experiment.adapter, classifier)
    ours = dict(classifier.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ours:
                parameter.copy_(ours[name])
    return model


def _adapt(model: BasePooled, adapter: Any, classifier: Classifier) -> None:
    """Add the adapter to the backbone: that of peft as its users do it, ours as it is."""
    if type(adapter).__name__ != "Peft":
        model.pooling, model.out_head = nn.Identity(), nn.Identity()
        adapter.apply(model)
        model.pooling = copy.deepcopy(classifier.pooling)
        model.out_head = copy.deepcopy(classifier.out_head)
        return
    from clsbench_peft.injection import read_config
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = read_config(adapter)
    layers = classifier.backbone.named_modules()
    config.target_modules = [name for name, each in layers if isinstance(each, BaseTunerLayer)]
    if getattr(config, "feedforward_modules", "") is None:  # as clsbench-peft does
        config.feedforward_modules = []
    get_peft_model(model.backbone, config)


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
