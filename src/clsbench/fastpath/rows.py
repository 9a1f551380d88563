"""The distinct token rows of a run: what is equal need be computed only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clsbench.components.axes import Pooling
from clsbench.data.tokens import TokenRows, row_keys


class DistinctRows:
    """Every distinct token row of the splits, and which one each text has.

    ``input_ids`` (D, T) int64; ``lengths`` (D,) in real tokens; ``widths`` (D,), how many positions
    of a row are computed: all T, or without padding the real ones, at least one; ``positions``
    (D,), the one that the pooling reads, if it is one. ``slots`` holds the row of every text (N,)
    by split.
    """

    def __init__(self, splits: Mapping[str, TokenRows], pooling: Pooling, unpadded: bool) -> None:
        self.keys: list[str] = []
        self.slots: dict[str, Tensor] = {}
        places: dict[str, int] = {}
        rows: list[tuple[TokenRows, int]] = []
        for name, texts in splits.items():
            slots = []
            for index, key in enumerate(row_keys(texts)):
                if key not in places:
                    places[key] = len(rows)
                    rows.append((texts, index))
                    self.keys.append(key)
                slots.append(places[key])
            self.slots[name] = torch.tensor(slots, dtype=torch.int64)
        self.input_ids = torch.stack([texts.input_ids[index] for texts, index in rows])
        self.lengths = torch.stack([texts.lengths[index] for texts, index in rows])
        padded = all(texts.padded for texts in splits.values())
        padded_length = self.input_ids.shape[1]
        real = self.lengths.clamp(min=1)
        self.widths = real if unpadded else torch.full_like(real, padded_length)
        self.positions = (
            pooling.positions(self.lengths, padded_length)
            if padded
            else _positions_apart(pooling, self.lengths, self.widths)
        )

    def __len__(self) -> int:
        """The number of distinct rows, D."""
        return len(self.keys)

    def of(self, name: str, indices: Sequence[int]) -> Tensor:
        """The rows (B,) of the texts at ``indices`` of a split."""
        return self.slots[name][torch.tensor(indices, dtype=torch.int64)]


def _positions_apart(pooling: Pooling, lengths: Tensor, widths: Tensor) -> Tensor | None:
    """Where texts come one by one, each is padded to its own width, which is not at all."""
    positions = [pooling.positions(lengths[i : i + 1], int(widths[i])) for i in range(len(lengths))]
    if any(position is None for position in positions):
        return None
    return torch.cat([position for position in positions if position is not None])
