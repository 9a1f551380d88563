"""Two freezing strategies for clsbench: the largest parameters, and a middle range of blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

import clsbench


class TopKParameters(clsbench.FreezingStrategy, frozen=True):
    """Train the largest k % of the backbone's parameter tensors; freeze the small ones.

    Of equally large tensors those nearer the head come first; at least one is trained.
    """

    k: Annotated[
        float, Meta(gt=0, le=100, description="how many of the tensors to train, in per cent")
    ] = 10.0

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """The names of the largest ``k`` % of the tensors, the largest first."""
        nearest_head_first = list(reversed(parameters))
        largest_first = sorted(nearest_head_first, key=lambda p: p.numel, reverse=True)
        count = math.ceil(len(parameters) * self.k / 100)
        return [p.name for p in largest_first[:count]]


class Surgical(clsbench.FreezingStrategy, frozen=True):
    """Train a range of blocks, by default the middle third; freeze what is above and below.

    Source: Lee et al. 2023, *Surgical Fine-Tuning Improves Adaptation to Distribution Shifts*,
    which finds that the best blocks to train depend on how the data differ from the pretraining.
    """

    first: (
        Annotated[int, Meta(ge=0, description="the first block to train, counted from 0")] | None
    ) = None
    last: (
        Annotated[int, Meta(ge=0, description="the last block to train, itself included")] | None
    ) = None

    def __post_init__(self) -> None:
        """Refuse a range that runs backwards.

        Raises:
            ValueError: ``last`` comes before ``first``.
        """
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last={self.last} comes before first={self.first}")

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        """The parameters of the blocks in the range.

        Raises:
            UsageError: the backbone has no such blocks.
        """
        blocks = len(clsbench.last_blocks(parameters, len(parameters)))
        first = blocks // 3 if self.first is None else self.first
        last = max(blocks - 1 - blocks // 3, first) if self.last is None else self.last
        if not first <= last < blocks:
            raise clsbench.UsageError(
                f"freezing strategy 'surgical': there are no blocks {first} to {last}; the "
                + (f"backbone has blocks 0 to {blocks - 1}" if blocks else "backbone has no blocks")
            )
        chosen = {f"block.{number}" for number in range(first, last + 1)}
        return [p.name for p in parameters if p.stage in chosen]


@clsbench.hookimpl
def clsbench_register_freezing_strategies() -> dict[str, type[clsbench.FreezingStrategy]]:
    """The two strategies, by the names that ``--freezing`` knows them by."""
    return {"top-k-parameters": TopKParameters, "surgical": Surgical}
