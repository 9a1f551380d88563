"""Exporters and what they are given."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from record_examples import make_record
from torch import nn

import clsbench
from clsbench.testing import MiniatureBackbone
from clsbench.testing.miniature import miniature_batch, miniature_classifier


class Extra(clsbench.Adapter, frozen=True):
    """An adapter that cannot be merged."""


def trained(adapter: clsbench.Adapter | None) -> clsbench.TrainedRun:
    classifier = miniature_classifier()
    if adapter is not None and not isinstance(adapter, Extra):
        adapter.apply(classifier)
        with torch.no_grad():
            for name, parameter in classifier.named_parameters():
                if name.endswith("lora_B"):
                    parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    backbone = MiniatureBackbone()
    return clsbench.TrainedRun(
        record=make_record(),
        backbone=backbone,
        pooling=clsbench.make_component("pooling", "mean"),
        head=clsbench.make_component("head", "linear"),
        adapter=adapter,
        classifier=classifier,
        tokenizer=backbone.tokenizer(MappingProxyType(dict[str, Path]())),
        files={},
    )


def test_merged_run_without_an_adapter_is_the_run_itself() -> None:
    run = trained(None)
    assert run.merged() is run


def test_merged_run_has_a_classifier_of_its_own_with_the_same_logits() -> None:
    run = trained(clsbench.make_component("adapter", "lora:r=2"))
    merged = run.merged()
    assert merged.adapter is None
    ids, lengths, _ = miniature_batch()
    torch.testing.assert_close(
        merged.classifier(ids, lengths), run.classifier(ids, lengths), atol=1e-5, rtol=1e-5
    )
    names = {name for name, _ in merged.classifier.named_parameters()}
    assert not any("lora" in name for name in names)
    assert any("lora" in name for name, _ in run.classifier.named_parameters())
    assert isinstance(merged.classifier, nn.Module)


def test_merged_run_with_an_adapter_that_cannot_be_merged_is_refused() -> None:
    with pytest.raises(clsbench.UsageError, match=r"adapter Extra cannot be merged .* --freezing"):
        trained(Extra()).merged()
