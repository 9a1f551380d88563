"""The adapter ``lora``: low-rank additions to every linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import nn


class LoRA(clsbench.Adapter, frozen=True):
    """Add alpha · (x A B) to every linear layer, of backbone, pooling and head alike.

    The scale is ``alpha`` itself, not ``alpha / r`` as elsewhere, as in the book. What ``A`` and
    ``B`` are added to trains or not as the freezing strategy says; with ``head-only`` it is the
    head that trains beside them.

    Source: Hu et al. 2021, *LoRA*; *Build a Large Language Model (From Scratch)*, appendix E.
    """

    r: Annotated[int, Meta(ge=1, description="rank: columns of A, rows of B")] = 8
    alpha: Annotated[float, Meta(gt=0, description="factor on what is added")] = 8.0

    def apply(self, classifier: nn.Module) -> None:
        """Give every linear layer its A and B, drawn from PyTorch's global generator."""
        from clsbench.builtin.lora_module import add_lora

        add_lora(classifier, self.r, self.alpha)


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
