"""The adapter ``lora``: low-rank updates of every linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import nn


class LoRA(clsbench.Adapter, frozen=True):
    """Add alpha · (x A B) to every linear layer of backbone, pooling and head.

    As in the book, the scale is ``alpha``, not ``alpha / r``. The freezing strategy decides whether
    the original weights train; with ``head-only``, the head trains together with ``A`` and ``B``.

    Source: Hu et al. 2021, *LoRA*; *Build a Large Language Model (From Scratch)*, appendix E.
    """

    r: Annotated[int, Meta(ge=1, description="rank: columns of A, rows of B")] = 8
    alpha: Annotated[
        float, Meta(gt=0, description="scale of the low-rank update, not divided by r")
    ] = 8.0

    def apply(self, classifier: nn.Module) -> None:
        """Add A and B to every linear layer, drawn from PyTorch's global generator.

        Raises:
            UsageError: the backbone has no linear layer.
        """
        from clsbench.builtin.lora_module import add_lora, has_lora

        add_lora(classifier, self.r, self.alpha)
        if not has_lora(classifier.get_submodule("backbone")):
            raise clsbench.UsageError(
                "adapter lora: the backbone has no linear layers (torch.nn.Linear, or Conv1D of "
                "transformers); use another adapter, or --freezing last-blocks"
            )

    def merge(self, classifier: nn.Module) -> None:
        """Add alpha · A B to the weights."""
        from clsbench.builtin.lora_module import merge_lora

        merge_lora(classifier)


@clsbench.hookimpl
def clsbench_register_adapters() -> Mapping[str, type[clsbench.Adapter]]:
    """Register ``lora``."""
    return {"lora": LoRA}


@clsbench.hookimpl
def clsbench_register_methods() -> Mapping[str, clsbench.Method]:
    """Register ``lora``."""
    return {
        "lora": clsbench.Method(
            freezing="head-only",
            adapter="lora",
            description="Train low-rank updates and the head; freeze the backbone.",
        )
    }
