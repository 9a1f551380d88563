"""The distinct token rows of a run; duplicates are computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clsbench.components.axes import Pooling
from clsbench.data.tokens import TokenRows, row_keys


class DistinctRows:
    """The distinct token rows of all splits, and the row of each text.

    ``input_ids`` (D, T) int64; ``lengths`` (D,) in real tokens; ``widths`` (D,): the number of
    positions that are computed, T with padding, else the number of real tokens (at least one);
    ``positions`` (D,): the position that the pooling reads, or ``None`` if it reads several.
    ``slots`` holds, by split, the row index of every text (N,).
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
        """The row indices (B,) of the texts at ``indices`` of a split."""
        return self.slots[name][torch.tensor(indices, dtype=torch.int64)]


def _positions_apart(pooling: Pooling, lengths: Tensor, widths: Tensor) -> Tensor | None:
    """The pooled positions (D,) of texts in batches of one, which are not padded."""
    positions = [pooling.positions(lengths[i : i + 1], int(widths[i])) for i in range(len(lengths))]
    if any(position is None for position in positions):
        return None
    return torch.cat([position for position in positions if position is not None])
