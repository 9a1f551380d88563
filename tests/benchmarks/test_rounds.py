"""Timing of rounds: the core they run on and what is recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from clsbench.bench.load import LoadMeter, Look
from round_client import RoundClient
from rounds import RoundTimer, on_one_core

chooses_cores = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system chooses cores by itself"
)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@chooses_cores
def test_on_one_core_single_thread_is_pinned_and_released() -> None:
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


@chooses_cores
def test_on_one_core_several_threads_are_not_pinned() -> None:
    torch.set_num_threads(2)
    before = os.sched_getaffinity(0)
    with on_one_core():
        assert os.sched_getaffinity(0) == before


class CountedSeconds(LoadMeter):
    """A machine on which a round lasts ``lasting`` seconds; after ``undisturbed`` rounds, other
    processes keep one core busy."""

    def __init__(self, lasting: float, undisturbed: int) -> None:
        self.lasting, self.undisturbed, self.looks = lasting, undisturbed, 0

    def look(self) -> Look:
        self.looks += 1
        ended = self.looks // 2
        foreign = max(ended - self.undisturbed, 0)
        return Look(*(self.lasting * each for each in (ended, ended + foreign, ended)))


class Notes(RoundClient):
    """A turn that records its calls."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def begin(self) -> None:
        self._notes.append("begin")

    def end(self) -> None:
        self._notes.append("end")


def watched(timer: RoundTimer, count: int) -> list[float]:
    """The foreign load of each of ``count`` rounds."""
    for _ in range(count):
        assert timer() < timer()
    return [round(each.foreign_cores, 6) for each in timer.rounds]


def test_round_timer_alone_records_load_and_reference_work_per_round() -> None:
    timer = RoundTimer()
    timer._meter = CountedSeconds(0.1, undisturbed=2)
    assert timer.round_seconds == 0.1
    assert watched(timer, 4) == [0.0, 0.0, 1.0, 1.0]
    assert all(each.reference_seconds for each in timer.rounds)
    timer.reset()
    assert timer.rounds == []


def test_round_timer_in_turn_pools_the_load_of_short_rounds() -> None:
    """A round of ten milliseconds is one tick of the system's clock."""
    notes: list[str] = []
    timer = RoundTimer()
    timer._meter, timer.client = CountedSeconds(0.01, undisturbed=30), Notes(notes)
    assert timer.round_seconds == 0.01
    timer.reset(first=lambda: notes.append("untimed"))
    loads = watched(timer, 60)
    assert notes == ["begin", "untimed", "end"] * 60
    assert loads == [0.0] * 26 + [round(30 / 34, 6)] * 34, "quarters of a second, and the rest"
    assert not any(each.reference_seconds for each in timer.rounds)
