"""Poolings: map the hidden states of a text to one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

import clsbench

if TYPE_CHECKING:
    from torch import Tensor, nn

IncludePadding = Annotated[bool, Meta(description="include padding positions")]


class LastToken(clsbench.Pooling, frozen=True):
    """The last position of the padded text, padding included, as in the book.

    Source: *Build a Large Language Model (From Scratch)*, section 6.5.
    """

    def build(self, hidden_size: int) -> nn.Module:
        """Select position T - 1."""
        from clsbench.builtin.pooling_modules import LastPosition

        return LastPosition()

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor:
        """Position T - 1 for every text."""
        return lengths.new_full(lengths.shape, padded_length - 1)

    def reads_padding(self) -> bool:
        """The last position of a short text is padding, so padding is read."""
        return True


class LastRealToken(clsbench.Pooling, frozen=True):
    """The last token of the text itself, before any padding."""

    def build(self, hidden_size: int) -> nn.Module:
        """Select position ``length - 1`` of each text."""
        from clsbench.builtin.pooling_modules import LastRealPosition

        return LastRealPosition()

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor:
        """Position ``length - 1``, and 0 for a text without tokens."""
        return (lengths - 1).clamp(min=0)

    def reads_padding(self) -> bool:
        """Padding comes after the position read."""
        return False


class FirstToken(clsbench.Pooling, frozen=True):
    """The first token; it attends to the whole text only without a causal mask."""

    def build(self, hidden_size: int) -> nn.Module:
        """Select position 0."""
        from clsbench.builtin.pooling_modules import FirstPosition

        return FirstPosition()

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor:
        """Position 0 for every text."""
        return lengths.new_zeros(lengths.shape)

    def reads_padding(self) -> bool:
        """Padding comes after the position read."""
        return False


class Mean(clsbench.Pooling, frozen=True):
    """The mean over the positions of a text.

    With ``include_padding``, padding positions count as well, as in row 19 of the book's bonus
    experiments.
    """

    include_padding: IncludePadding = False

    def build(self, hidden_size: int) -> nn.Module:
        """Average over the positions."""
        from clsbench.builtin.pooling_modules import MeanOverPositions

        return MeanOverPositions(self.include_padding)

    def reads_padding(self) -> bool:
        """The value of ``include_padding``."""
        return self.include_padding


class Max(clsbench.Pooling, frozen=True):
    """The largest value of each feature over the positions of a text."""

    include_padding: IncludePadding = False

    def build(self, hidden_size: int) -> nn.Module:
        """Take the largest value over the positions."""
        from clsbench.builtin.pooling_modules import MaxOverPositions

        return MaxOverPositions(self.include_padding)

    def reads_padding(self) -> bool:
        """The value of ``include_padding``."""
        return self.include_padding


class Attention(clsbench.Pooling, frozen=True):
    """A weighted mean of a text's tokens, with scores from one learned vector; ignores padding.

    The scores are zero initially, so training starts with the plain mean.
    """

    def build(self, hidden_size: int) -> nn.Module:
        """Make the score vector, of ``hidden_size`` parameters."""
        from clsbench.builtin.pooling_modules import AttentionOverPositions

        return AttentionOverPositions(hidden_size)

    def reads_padding(self) -> bool:
        """Padding is masked out."""
        return False


@clsbench.hookimpl
def clsbench_register_poolings() -> dict[str, type[clsbench.Pooling]]:
    """The built-in poolings."""
    return {
        "last-token": LastToken,
        "last-real-token": LastRealToken,
        "first-token": FirstToken,
        "mean": Mean,
        "max": Max,
        "attention": Attention,
    }
