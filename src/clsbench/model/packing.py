"""Concatenate texts without padding, and convert them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """The positions of the N tokens of B texts in a packed tensor (N, …).

    ``lengths`` (B,) are at least 1: a text without tokens keeps one padding token. ``positions``
    (N,) int64 is the position of each token in its text, ``starts`` (B,) int64 the index of each
    text's first token, ``padded_places`` (N,) int64 the index of each token in a padded batch (B ·
    widest, …).
    """

    lengths: tuple[int, ...]
    positions: Tensor
    starts: Tensor
    padded_places: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Packing:
        """The packing of texts with these ``lengths`` in tokens, each at least 1."""
        kept = tuple(lengths)
        widest = max(kept)
        counts = torch.tensor(kept)
        starts = counts.cumsum(0) - counts
        positions = torch.arange(sum(kept)) - starts.repeat_interleave(counts)
        texts = torch.arange(len(kept)).repeat_interleave(counts)
        return cls(kept, positions, starts, texts * widest + positions)

    def to(self, device: torch.device) -> Packing:
        """The packing on another device."""
        places = (self.positions, self.starts, self.padded_places)
        return Packing(self.lengths, *(tensor.to(device, non_blocking=True) for tensor in places))

    @property
    def widest(self) -> int:
        """The length of the longest text, in tokens."""
        return max(self.lengths)

    def pack(self, padded: Tensor) -> Tensor:
        """Pack (B, T, …) → (N, …); T is at least :attr:`widest`."""
        narrow = padded[:, : self.widest].flatten(0, 1)
        return narrow.index_select(0, self.padded_places)

    def pad(self, packed: Tensor) -> Tensor:
        """Pad (N, …) → (B, widest, …) with zeros."""
        shape = (len(self.lengths), self.widest, *packed.shape[1:])
        empty = packed.new_zeros(shape[0] * shape[1], *shape[2:])
        return empty.index_copy(0, self.padded_places, packed).view(shape)

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Split (N, …) → one tensor (length, …) per text."""
        parts: tuple[Tensor, ...] = packed.split_with_sizes(self.lengths)
        return parts


def select_positions(hidden: Tensor, positions: Tensor, packing: Packing | None = None) -> Tensor:
    """The hidden states at one position of each text: (B, T, H), or (N, H) packed → (B, 1, H)."""
    if packing is not None:
        return hidden.index_select(0, packing.starts + positions).unsqueeze(1)
    places = positions.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
    return hidden.gather(1, places)
