"""The contract of a pooling: one vector per text, from the positions that it declares."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from clsbench.components.axes import Pooling
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import (
    DTYPES,
    check_built_alike,
    check_gradients,
    check_outline,
    check_output,
    normal,
)

WIDTH = 8
LENGTHS = ((5, 3, 1, 4), (5,), (1,), (1, 1), (2, 7), (0, 3), (0,), ())
"""Batches of text lengths in tokens: even, uneven, a single text, texts without tokens, no text."""


def check_pooling(pooling: Pooling, device: str = "cpu") -> None:
    """Check a pooling on batches of many shapes, including texts without tokens.

    It maps (B, T, H) to finite (B, H) in the same dtype, with finite gradients, deterministically
    and independently for each text. If :meth:`~clsbench.Pooling.positions` returns one position, it
    reads nothing else, not even lengths. If ``reads_padding()`` returns false, neither the values
    nor the amount of padding matter.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(pooling)
    lengths = torch.tensor([5, 3, 0])
    check_outline(pooling, partial(pooling.build, WIDTH), normal(3, 5, WIDTH), lengths)
    for dtype in DTYPES:
        module = check_built_alike(pooling, partial(pooling.build, WIDTH))
        module = module.to(device=device, dtype=dtype)
        for texts in LENGTHS:
            for extra in (0, 3):
                lengths = torch.tensor(texts, dtype=torch.int64, device=device)
                padded_length = max(texts, default=1) + extra or 1
                hidden = normal(len(texts), padded_length, WIDTH, dtype=dtype).to(device)
                _check_batch(pooling, module, hidden, lengths)


def _check_batch(pooling: Pooling, module: nn.Module, hidden: Tensor, lengths: Tensor) -> None:
    hidden = hidden.clone().requires_grad_()
    output = check_output(pooling, module(hidden, lengths), (len(lengths), WIDTH), hidden)
    require(
        torch.equal(module(hidden, lengths), output),
        pooling,
        "a second call returns a different result",
    )
    if not len(lengths):
        return
    check_gradients(pooling, module, output, hidden)
    with torch.no_grad():
        _check_texts_apart(pooling, module, hidden, lengths, output)
        _check_positions(pooling, module, hidden, lengths, output)
        if not pooling.reads_padding():
            _check_padding(pooling, module, hidden, lengths, output)


def _check_texts_apart(
    pooling: Pooling, module: nn.Module, hidden: Tensor, lengths: Tensor, output: Tensor
) -> None:
    alone = torch.cat([module(hidden[i : i + 1], lengths[i : i + 1]) for i in range(len(lengths))])
    require(
        torch.allclose(alone, output, rtol=1e-5, atol=1e-6),
        pooling,
        "a text's vector depends on the other texts of its batch",
    )


def _check_positions(
    pooling: Pooling, module: nn.Module, hidden: Tensor, lengths: Tensor, output: Tensor
) -> None:
    padded_length = hidden.shape[1]
    positions = pooling.positions(lengths, padded_length)
    if positions is None:
        return
    require(
        positions.shape == lengths.shape and positions.dtype == torch.int64,
        pooling,
        f"positions() returns {positions.dtype} {tuple(positions.shape)}, expected one int64 each",
    )
    require(
        bool(((positions >= 0) & (positions < padded_length)).all()),
        pooling,
        f"positions() returns {positions.tolist()}, outside a text of {padded_length} positions",
    )
    beyond = bool((positions >= lengths.clamp(min=1)).any())
    require(
        pooling.reads_padding() or not beyond,
        pooling,
        "positions() names padding, but reads_padding() says that none is read",
    )
    rows = torch.arange(len(lengths), device=hidden.device)
    elsewhere = hidden * -3 + 1
    elsewhere[rows, positions] = hidden[rows, positions]
    require(
        torch.equal(module(elsewhere, lengths), output),
        pooling,
        f"the result depends on other positions than positions() names ({positions.tolist()})",
    )
    alone = module(hidden[rows, positions].unsqueeze(1), torch.ones_like(lengths))
    require(
        torch.allclose(alone, output, rtol=1e-5, atol=1e-6),
        pooling,
        "given only the position that positions() names, it returns a different result: the length "
        "of the text or of the batch must not matter",
    )
    there = hidden.clone()
    there[rows, positions] = hidden[rows, positions] * -3 + 1
    require(
        not torch.equal(module(there, lengths), output),
        pooling,
        f"the result does not depend on the position that positions() names ({positions.tolist()})",
    )


def _check_padding(
    pooling: Pooling, module: nn.Module, hidden: Tensor, lengths: Tensor, output: Tensor
) -> None:
    """A text without tokens counts as having one, whatever that is."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    padding = (places >= lengths.clamp(min=1).unsqueeze(-1)).unsqueeze(-1)  # (B, T, 1)
    other = torch.where(padding, hidden * -1000 + 7, hidden)
    require(
        torch.equal(module(other, lengths), output),
        pooling,
        "reads_padding() says no, but other values at padding positions change the result",
    )
    longer = torch.cat([hidden, torch.full_like(hidden, 9.0)], dim=1)
    require(
        torch.allclose(module(longer, lengths), output, rtol=1e-5, atol=1e-6),
        pooling,
        "reads_padding() says no, but more padding changes the result",
    )
