from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import clsbench
from clsbench.builtin.poolings import (
    Attention,
    FirstToken,
    LastRealToken,
    LastToken,
    Max,
    Mean,
)

ALL = [
    LastToken(),
    LastRealToken(),
    FirstToken(),
    Mean(),
    Mean(include_padding=True),
    Max(),
    Max(include_padding=True),
    Attention(),
]


def pool(pooling: clsbench.Pooling, hidden: Tensor, lengths: list[int]) -> Tensor:
    module = pooling.build(hidden.shape[-1]).to(hidden.dtype)
    out: Tensor = module(hidden, torch.tensor(lengths, dtype=torch.int64))
    return out


@pytest.fixture
def hidden() -> Tensor:
    """Two texts of 3 and 1 tokens, padded to 4 positions; (2, 4, 2)."""
    return torch.tensor(
        [
            [[1.0, -1.0], [2.0, 5.0], [6.0, 2.0], [90.0, 80.0]],
            [[3.0, -4.0], [70.0, 60.0], [50.0, 40.0], [30.0, 20.0]],
        ]
    )


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (LastToken(), [[90.0, 80.0], [30.0, 20.0]]),
        (LastRealToken(), [[6.0, 2.0], [3.0, -4.0]]),
        (FirstToken(), [[1.0, -1.0], [3.0, -4.0]]),
        (Mean(), [[3.0, 2.0], [3.0, -4.0]]),
        (Mean(include_padding=True), [[24.75, 21.5], [38.25, 29.0]]),
        (Max(), [[6.0, 5.0], [3.0, -4.0]]),
        (Max(include_padding=True), [[90.0, 80.0], [70.0, 60.0]]),
        (Attention(), [[3.0, 2.0], [3.0, -4.0]]),  # untrained, it equals the mean
    ],
)
def test_pooling_values_equal_hand_computed_ones(
    pooling: clsbench.Pooling, expected: list[list[float]], hidden: Tensor
) -> None:
    torch.testing.assert_close(pool(pooling, hidden, [3, 1]), torch.tensor(expected))


@pytest.mark.parametrize("pooling", ALL, ids=repr)
def test_pooling_text_without_tokens_uses_the_first_position(
    pooling: clsbench.Pooling, hidden: Tensor
) -> None:
    torch.testing.assert_close(pool(pooling, hidden, [3, 0]), pool(pooling, hidden, [3, 1]))


@pytest.mark.parametrize("pooling", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pooling_keeps_any_floating_dtype(pooling: clsbench.Pooling, dtype: torch.dtype) -> None:
    pooled = pool(pooling, torch.ones(2, 3, 4, dtype=dtype), [3, 1])
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled, torch.ones(2, 4, dtype=dtype))


@pytest.mark.parametrize(
    "pooling", [p for p in ALL if not p.reads_padding()], ids=lambda p: repr(p)
)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_pooling_ignores_nan_and_inf_in_padding(
    pooling: clsbench.Pooling, poison: float, hidden: Tensor
) -> None:
    clean = pool(pooling, hidden, [3, 1])
    hidden[0, 3:] = poison
    hidden[1, 1:] = poison
    torch.testing.assert_close(pool(pooling, hidden, [3, 1]), clean)


def test_attention_pooling_weights_follow_its_scores(hidden: Tensor) -> None:
    module = Attention().build(2)
    with torch.no_grad():
        module.score.copy_(torch.tensor([10.0, 0.0]))  # type: ignore[union-attr]
    pooled = module(hidden, torch.tensor([3, 1]))
    torch.testing.assert_close(pooled, torch.tensor([[6.0, 2.0], [3.0, -4.0]]))
    assert [tuple(p.shape) for p in module.parameters()] == [(2,)]


def test_attention_pooling_large_scores_stay_finite() -> None:
    module = Attention().build(2)
    hidden = torch.full((1, 3, 2), 1e4, requires_grad=True)
    with torch.no_grad():
        module.score.fill_(1e4)  # type: ignore[union-attr]
    module(hidden, torch.tensor([2])).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    assert module.score.grad.isfinite().all()  # type: ignore[union-attr]


def test_pooling_parameters_draw_no_random_numbers() -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    counts = {type(p).__name__: sum(x.numel() for x in p.build(8).parameters()) for p in ALL}
    assert {name: n for name, n in counts.items() if n} == {"Attention": 8}
    assert torch.equal(torch.random.get_rng_state(), state)  # so the head's weights are the book's


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    extra=st.integers(0, 5),
    data=st.data(),
)
def test_pooling_padded_batch_equals_single_texts(
    lengths: list[int], extra: int, data: st.DataObject
) -> None:
    """Poolings that ignore padding give the same for a padded batch and for each text alone."""
    pooling = data.draw(st.sampled_from([p for p in ALL if not p.reads_padding()]))
    padded_length = max(*lengths, 1) + extra
    generator = torch.Generator().manual_seed(7)
    hidden = torch.randn(len(lengths), padded_length, 3, generator=generator, dtype=torch.float64)
    batch = pool(pooling, hidden, lengths)
    for row, length in enumerate(lengths):
        bare = hidden[row : row + 1, : max(length, 1)]
        torch.testing.assert_close(pool(pooling, bare, [max(length, 1)])[0], batch[row])
