"""Freezing strategies: which parameters of the backbone are trained. Does not import torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

from msgspec import Meta

import clsbench

FINAL_NORM = "final_norm"


class LastBlocks(clsbench.FreezingStrategy, frozen=True):
    """Train the last n blocks and the final norm; freeze everything below.

    Source: *Build a Large Language Model (From Scratch)*, section 6.5, which trains one block.
    """

    n: Annotated[int, Meta(ge=1, description="blocks to train, counted from the top")] = 1

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """The parameters of the last ``n`` blocks and of the final norm.

        Raises:
            UsageError: the backbone has fewer blocks.
        """
        blocks = clsbench.last_blocks(parameters, self.n)
        if len(blocks) < self.n:
            raise clsbench.UsageError(_too_few_blocks(self.n, len(blocks)))
        return _in_stages(parameters, blocks | {FINAL_NORM})


class HeadOnly(clsbench.FreezingStrategy, frozen=True):
    """Train only the head, on a frozen backbone (linear probing)."""

    final_norm: Annotated[bool, Meta(description="train the final norm as well")] = False

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """No parameter of the backbone, or only its final norm."""
        return _in_stages(parameters, {FINAL_NORM} if self.final_norm else ())


class All(clsbench.FreezingStrategy, frozen=True):
    """Train every parameter: full fine-tuning."""

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """Every parameter."""
        return [p.name for p in parameters]


class NoneButNorms(clsbench.FreezingStrategy, frozen=True):
    """Train only the normalization layers of the backbone.

    Source: Lu et al. 2021, *Pretrained Transformers as Universal Computation Engines*.
    """

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """Every parameter of a normalization layer."""
        return [p.name for p in parameters if p.role == "norm"]


class BiasOnly(clsbench.FreezingStrategy, frozen=True):
    """Train every bias of the backbone, including those of its norms (BitFit).

    Source: Ben Zaken et al. 2022, *BitFit: Simple Parameter-efficient Fine-tuning*.
    """

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """All biases, including those of norms (``shift`` or ``bias``)."""
        return [p.name for p in parameters if _is_bias(p)]


class Gradual(clsbench.FreezingStrategy, frozen=True):
    """Train only the head first, then unfreeze one block after another from the top (ULMFiT).

    The final norm is unfrozen with the first block, the embeddings after the last block.

    Source: Howard and Ruder 2018, *Universal Language Model Fine-tuning for Text Classification*,
    section 3.3.
    """

    epochs_per_block: Annotated[
        int, Meta(ge=1, description="epochs until the next block is unfrozen")
    ] = 1

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """All parameters, which train if there are enough epochs."""
        return [p.name for p in parameters]

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> list[str]:
        """The parameters that are unfrozen in ``epoch``, counted from 0; a superset of the previous
        epoch's."""
        unfrozen = epoch // self.epochs_per_block
        if unfrozen < 1:
            return []
        blocks = clsbench.last_blocks(parameters, unfrozen)
        if unfrozen > len(blocks):  # all blocks are unfrozen
            return self.trainable(parameters)
        return _in_stages(parameters, blocks | {FINAL_NORM})


def _too_few_blocks(asked: int, there: int) -> str:
    has = {0: "no blocks", 1: "1 block"}.get(there, f"{there} blocks")
    fewer = f"n={there} trains every block, " if there else "'head-only' trains the head alone, "
    return (
        f"freezing strategy 'last-blocks': n={asked}, but the backbone has {has}; {fewer}"
        "'all' trains every parameter"
    )


def _in_stages(parameters: Sequence[clsbench.ParameterInfo], stages: Collection[str]) -> list[str]:
    return [p.name for p in parameters if p.stage in stages]


def _is_bias(parameter: clsbench.ParameterInfo) -> bool:
    if parameter.role == "norm":
        return parameter.name.rpartition(".")[2] in ("bias", "shift", "beta")
    return parameter.role == "bias"


@clsbench.hookimpl
def clsbench_register_freezing_strategies() -> dict[str, type[clsbench.FreezingStrategy]]:
    """The built-in freezing strategies."""
    return {
        "last-blocks": LastBlocks,
        "head-only": HeadOnly,
        "all": All,
        "none-but-norms": NoneButNorms,
        "bias-only": BiasOnly,
        "gradual": Gradual,
    }


@clsbench.hookimpl
def clsbench_register_methods() -> dict[str, clsbench.Method]:
    """The methods without an adapter."""
    return {
        "all": clsbench.Method(freezing="all", description="Train every parameter."),
        "last-block": clsbench.Method(
            freezing="last-blocks:n=1",
            description="Train the last block, the final norm and the head.",
        ),
        "head-only": clsbench.Method(freezing="head-only", description="Train only the head."),
    }
