"""Adapters must keep the names of the backbone's parameters."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from tiny_gpt2 import TinyGPT2
from torch import Tensor, nn

import clsbench
from clsbench.builtin.lora import LoRA
from clsbench.model.adapting import apply_adapter
from clsbench.model.classifier import Classifier
from clsbench.testing.miniature import miniature_classifier

Alias = Literal["none", "weight-and-bias", "another-weight"]


class Wrapper(nn.Module):
    """A linear layer below another module, with a low-rank addition, as peft makes it."""

    def __init__(self, base_layer: nn.Linear, alias: Alias) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, 2, bias=False)
        self.lora_B = nn.Linear(2, base_layer.out_features, bias=False)
        if alias == "weight-and-bias":
            self.weight = base_layer.weight
            self.bias = base_layer.bias
        if alias == "another-weight":
            self.weight = nn.Parameter(torch.ones(3))
            self.bias = nn.Parameter(torch.ones(3))

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.base_layer(hidden) + self.lora_B(self.lora_A(hidden))
        return out


class Wraps(clsbench.Adapter, frozen=True):
    """Wrap the query and value layers of every block."""

    alias: Alias = "none"

    def apply(self, classifier: nn.Module) -> None:
        """Replace them in place."""
        for module in list(classifier.modules()):
            for name, child in list(module.named_children()):
                if name in ("W_query", "W_value"):
                    setattr(module, name, Wrapper(child, self.alias))


class Removes(clsbench.Adapter, frozen=True):
    """Remove the final norm."""

    def apply(self, classifier: nn.Module) -> None:
        """Replace it in place."""
        classifier.backbone.final_norm = nn.Identity()


def tiny_classifier(device: str = "cpu") -> Classifier:
    with torch.device(device):
        backbone = TinyGPT2().build({})
        return Classifier(backbone, nn.Identity(), nn.Linear(12, 2))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("alias", ["none", "another-weight"])
def test_apply_adapter_that_renames_parameters_is_refused_with_the_names(
    device: str, alias: Alias
) -> None:
    classifier = tiny_classifier(device)
    number = len(list(classifier.backbone.parameters()))
    with pytest.raises(clsbench.PluginError) as refused:
        apply_adapter(Wraps(alias=alias), classifier)
    message = str(refused.value)
    assert (
        f"the adapter Wraps renames or removes 12 of the backbone's {number} parameters" in message
    )
    assert "trf_blocks.0.att.W_query.weight, trf_blocks.0.att.W_query.bias" in message
    assert "and 9 more" in message
    assert "wrapper.weight = wrapped.weight" in message


def test_apply_adapter_that_removes_parameters_is_refused() -> None:
    with pytest.raises(clsbench.PluginError, match=r"removes 2 of .*: final_norm\.weight, "):
        apply_adapter(Removes(), miniature_classifier())


@pytest.mark.parametrize("adapter", [Wraps(alias="weight-and-bias"), LoRA()])
def test_apply_adapter_that_keeps_the_names_is_accepted(adapter: clsbench.Adapter) -> None:
    classifier = tiny_classifier()
    before = dict(classifier.named_parameters())
    apply_adapter(adapter, classifier)
    after = dict(classifier.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert len(after) > len(before)
