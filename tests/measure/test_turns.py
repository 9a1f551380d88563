"""Turns, given to real processes."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from clsbench.measure.turns import Turns

TAKES_TURNS = """
import socket, sys, time

address, file, name, rounds, prepares = sys.argv[1:]
host, _, port = address.rpartition(":")
server = socket.create_connection((host, int(port)))
for number in range(int(rounds)):
    time.sleep(float(prepares))
    server.sendall(b"?")
    if not server.recv(1):
        sys.exit("nobody gives turns")
    with open(file, "a") as notes:
        notes.write(f"{name} begins\\n")
    time.sleep(0.01)
    with open(file, "a") as notes:
        notes.write(f"{name} ends\\n")
    server.sendall(b".")
    if name == "dies":
        sys.exit(3)
"""


def take_turns(file: Path, *processes: tuple[str, int, float]) -> list[str]:
    """The order of the rounds of processes, given by name, number of rounds, and seconds of
    preparation before each."""
    with closing(Turns()) as turns:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", TAKES_TURNS, turns.address, file, *map(str, process)]
            )
            for process in processes
        ]
        turns.attend(running)
    lines = file.read_text().splitlines()
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert begin.replace("begins", "ends") == end, "rounds never overlap"
    return [line.split()[0] for line in lines[::2]]


def test_rounds_alternate_however_long_each_side_prepares(tmp_path: Path) -> None:
    order = take_turns(tmp_path / "notes", ("a", 6, 0.0), ("b", 6, 0.02))
    assert sorted(order) == ["a"] * 6 + ["b"] * 6
    assert "".join(order) in ("ab" * 6, "ba" * 6)


def test_three_go_round(tmp_path: Path) -> None:
    order = "".join(take_turns(tmp_path / "notes", ("a", 4, 0.0), ("b", 4, 0.0), ("c", 4, 0.01)))
    assert len(set(order[:3])) == 3
    assert order == order[:3] * 4


def test_who_is_left_goes_on(tmp_path: Path) -> None:
    order = take_turns(tmp_path / "notes", ("a", 5, 0.0), ("b", 2, 0.0))
    assert (order.count("a"), order.count("b")) == (5, 2)


def test_where_one_fails_nobody_waits_for_the_others(tmp_path: Path) -> None:
    order = take_turns(tmp_path / "notes", ("a", 1000, 0.0), ("dies", 9, 0.0))
    assert order.count("dies") == 1
    assert order.count("a") < 100


def test_a_process_that_never_asks_keeps_nobody_waiting_once_it_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with closing(Turns()) as turns:
        asks = subprocess.Popen(
            [sys.executable, "-c", TAKES_TURNS, turns.address, file, "a", "2", "0"]
        )
        does_not = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"])
        turns.attend([asks, does_not])
        assert (asks.returncode, does_not.returncode) == (0, 0)
    assert file.read_text().count("begins") == 2
