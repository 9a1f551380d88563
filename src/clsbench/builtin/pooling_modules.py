"""The torch modules of the poolings: (hidden (B, T, H), lengths (B,) int64) → (B, H).

A text without tokens is treated as having one, so that means do not divide by zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LastPosition(nn.Module):
    """Position T - 1."""

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Select. (B, T, H) → (B, H)."""
        return hidden[:, -1]


class FirstPosition(nn.Module):
    """Position 0."""

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Select. (B, T, H) → (B, H)."""
        return hidden[:, 0]


class LastRealPosition(nn.Module):
    """The position before the padding."""

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Select. (B, T, H) → (B, H)."""
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return hidden[rows, (lengths - 1).clamp(min=0)]


class MeanOverPositions(nn.Module):
    """The mean over the real positions, or over all."""

    def __init__(self, include_padding: bool) -> None:
        super().__init__()
        self.include_padding = include_padding

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Average. (B, T, H) → (B, H)."""
        if self.include_padding:
            return hidden.mean(dim=1)
        total = hidden.masked_fill(_is_padding(hidden, lengths), 0.0).sum(dim=1)
        return total / lengths.clamp(min=1).unsqueeze(-1).to(hidden.dtype)


class MaxOverPositions(nn.Module):
    """The largest value of each feature over the real positions, or over all."""

    def __init__(self, include_padding: bool) -> None:
        super().__init__()
        self.include_padding = include_padding

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Take the maximum. (B, T, H) → (B, H)."""
        if not self.include_padding:
            hidden = hidden.masked_fill(_is_padding(hidden, lengths), float("-inf"))
        return hidden.amax(dim=1)


class AttentionOverPositions(nn.Module):
    """A mean weighted by the softmax of a learned score."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Weigh and add. (B, T, H) → (B, H)."""
        padding = _is_padding(hidden, lengths)
        # Padding is set to zero as well, since a weight of zero would not cancel an infinity.
        hidden = hidden.masked_fill(padding, 0.0)
        scores = (hidden @ self.score.to(hidden.dtype)).unsqueeze(-1)  # (B, T, 1)
        weights = scores.masked_fill(padding, float("-inf")).softmax(dim=1)
        return (weights.to(hidden.dtype) * hidden).sum(dim=1)


def _is_padding(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Which positions are padding, (B, T, 1) bool; the first position never counts as padding."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    return (positions >= lengths.clamp(min=1).unsqueeze(-1)).unsqueeze(-1)
