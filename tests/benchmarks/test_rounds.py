"""Where a round is timed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from rounds import on_one_core

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system chooses cores by itself"
)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_one_thread_stays_on_the_same_core_for_a_while() -> None:
    torch.set_num_threads(1)
    before = os.sched_getaffinity(0)

    def fail() -> None:
        with on_one_core():
            assert os.sched_getaffinity(0) == {max(before)}
            raise RuntimeError("what is timed fails")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="fails"):
            fail()
        assert os.sched_getaffinity(0) == before


def test_several_threads_go_where_they_will() -> None:
    torch.set_num_threads(2)
    before = os.sched_getaffinity(0)
    with on_one_core():
        assert os.sched_getaffinity(0) == before
