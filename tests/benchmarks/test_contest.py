"""Only peers whose losses equal the book's are raced."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("llms_from_scratch", reason="the peer is absent")

from contest import FAST_BOOK, check_equivalence
from peers import BookSide, HuggingFaceSide, make_fast_book_model
from race_outcome import Equality
from workload import SETTINGS, prepare

SETTING = SETTINGS["last-block"]
BOOK = Equality(ours=[0.7, 0.6], book=[0.7, 0.6], our_trainable=1, book_trainable=1)


@pytest.mark.parametrize("losses", [[0.7, 0.7], [math.nan, 0.6], [0.7, math.nan]])
def test_check_equivalence_different_losses_are_reported(losses: list[float]) -> None:
    steps = iter(losses)
    expected = check_equivalence(FAST_BOOK, lambda: next(steps), BOOK)
    assert expected is not None
    assert expected.startswith(f"losses of {FAST_BOOK} differ by ")


def test_check_equivalence_equal_losses_return_none() -> None:
    steps = iter([0.7001, 0.5999])
    assert check_equivalence(FAST_BOOK, lambda: next(steps), BOOK) is None


@pytest.mark.slow
def test_peers_losses_equal_the_books(assets_dir: Path, tmp_path: Path) -> None:
    """The tolerance is tighter than the race's: only rounding may differ."""
    pytest.importorskip("transformers")
    workload = prepare(SETTING, "tiny", assets_dir, threads=1, batches=4)
    seed = workload.experiment.spec.seed
    book = BookSide(workload, tmp_path, seed)
    fast_book = BookSide(workload, tmp_path, seed, make=make_fast_book_model)
    hugging_face = HuggingFaceSide(workload, seed)
    losses = [book.step() for _ in range(8)]
    assert len(set(losses)) > 4, "it trains"
    assert [fast_book.step() for _ in range(8)] == pytest.approx(losses, abs=1e-5)
    assert [hugging_face.step() for _ in range(8)] == pytest.approx(losses, abs=1e-5)
    others = HuggingFaceSide(workload, seed + 1)
    assert [others.step() for _ in range(8)] != pytest.approx(losses, abs=1e-3)
