"""Packing of texts without padding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from clsbench import Packing, select_positions

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(lengths=LENGTHS, extra=st.integers(0, 2))
def test_packing_pack_and_pad_round_trip(
    lengths: list[int], extra: int, device: torch.device
) -> None:
    packing = Packing.of(lengths).to(device)
    padded = torch.randn(len(lengths), max(lengths) + extra, 3, device=device)
    packed = packing.pack(padded)
    wanted = torch.cat([row[:length] for row, length in zip(padded, lengths, strict=True)])
    assert torch.equal(packed, wanted)
    assert [len(part) for part in packing.split(packed)] == lengths
    again = packing.pad(packed)
    for row, back, length in zip(padded, again, lengths, strict=True):
        assert torch.equal(back[:length], row[:length])
        assert not back[length:].any()


@given(lengths=LENGTHS, data=st.data())
def test_select_positions_counts_within_each_text(
    lengths: list[int], data: st.DataObject, device: torch.device
) -> None:
    packing = Packing.of(lengths).to(device)
    padded = torch.randn(len(lengths), max(lengths), 3, device=device)
    drawn = [data.draw(st.integers(0, length - 1)) for length in lengths]
    positions = torch.tensor(drawn, device=device)
    rows = torch.arange(len(lengths), device=device)
    wanted = padded[rows, positions].unsqueeze(1)
    assert torch.equal(select_positions(padded, positions), wanted)
    assert torch.equal(select_positions(packing.pack(padded), positions, packing), wanted)
    assert torch.equal(packing.positions[packing.starts + positions], positions)


def test_packing_gradients_reach_every_token_once(device: torch.device) -> None:
    packing = Packing.of([2, 3]).to(device)
    packed = torch.randn(5, 2, dtype=torch.float64, device=device, requires_grad=True)
    packing.pack(packing.pad(packed) * 2).sum().backward()
    assert packed.grad is not None
    assert torch.equal(packed.grad, torch.full_like(packed, 2.0))
