"""The round server with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from benchmarks.watch.round_server import RoundServer

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"

TAKES_TURNS = """
import json, sys, time
from round_client import RoundClient

address, file, name, plan = sys.argv[1:]
plan = json.loads(plan)
client = RoundClient(address)
client.will([each["benchmark"] for each in plan])

def note(*words):
    with open(file, "a") as notes:
        notes.write(json.dumps(words) + "\\n")

for each in plan:
    if each["skipped"]:
        continue
    time.sleep(each["prepares"])
    try:
        with client.at(each["benchmark"], each["seconds"]) as agreed:
            note(name, "agrees", each["benchmark"], agreed)
            for number in range(each["rounds"]):
                time.sleep(each["prepares"])
                client.begin()
                note(name, "begins", each["benchmark"])
                time.sleep(0.005)
                if each["fails"]:
                    raise RuntimeError
                note(name, "ends", each["benchmark"])
                client.end()
                if each["dies"]:
                    sys.exit(3)
    except RuntimeError:
        note(name, "ends", each["benchmark"])
    note(name, "leaves", each["benchmark"])
"""


class Timed(msgspec.Struct, kw_only=True):
    """What a process does in a benchmark; ``prepares`` is in seconds, before each round."""

    benchmark: str = "x"
    rounds: int = 4
    seconds: float = 0.01
    prepares: float = 0.0
    skipped: bool = False
    fails: bool = False
    dies: bool = False


class Note(NamedTuple):
    """An event that a process recorded."""

    name: str
    what: str
    benchmark: str
    agreed: float = 0.0


def alternate(file: Path, **plans: list[Timed]) -> list[Note]:
    """Run one process per plan and return the recorded events."""
    with closing(RoundServer()) as server:
        running = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    TAKES_TURNS,
                    server.address,
                    file,
                    name,
                    msgspec.json.encode(plan).decode(),
                ],
                cwd=BENCHMARKS,
                env={"PYTHONPATH": str(BENCHMARKS)},
            )
            for name, plan in plans.items()
        ]
        try:
            server.attend(running)
        finally:
            for process in running:
                process.kill()
                process.wait()
    notes = [Note(*json.loads(line)) for line in file.read_text().splitlines()]
    timed = [note for note in notes if note.what in ("begins", "ends")]
    for begin, end in zip(timed[::2], timed[1::2], strict=False):
        assert begin._replace(what="ends") == end, "rounds never overlap"
    return notes


def rounds(notes: list[Note], benchmark: str = "x") -> str:
    """The names of the processes in the order of their rounds."""
    return "".join(n.name for n in notes if (n.what, n.benchmark) == ("begins", benchmark))


def test_round_server_rounds_alternate_if_one_side_prepares_longer(tmp_path: Path) -> None:
    notes = alternate(tmp_path / "notes", a=[Timed(rounds=6)], b=[Timed(rounds=6, prepares=0.02)])
    assert rounds(notes) in ("ab" * 6, "ba" * 6)


def test_round_server_three_processes_rotate(tmp_path: Path) -> None:
    order = rounds(alternate(tmp_path / "notes", a=[Timed()], b=[Timed()], c=[Timed()]))
    assert len(set(order[:3])) == 3
    assert order == order[:3] * 4


def test_round_server_all_processes_agree_on_the_shortest_time(tmp_path: Path) -> None:
    notes = alternate(tmp_path / "notes", a=[Timed(seconds=0.02)], b=[Timed(seconds=0.03)])
    assert [note.agreed for note in notes if note.what == "agrees"] == [0.02, 0.02]


def test_round_server_processes_leave_together_after_the_last_round(tmp_path: Path) -> None:
    """A process that goes on to other work would disturb the last rounds of the others."""
    notes = alternate(tmp_path / "notes", a=[Timed(rounds=5)], b=[Timed(rounds=2)])
    assert sorted(rounds(notes)) == list("aaaaabb")
    last = max(place for place, note in enumerate(notes) if note.what == "ends")
    assert [note.what for note in notes[last + 1 :]] == ["leaves", "leaves"]


@pytest.mark.parametrize("skipped", [False, True])
def test_round_server_missing_benchmark_keeps_the_others_alternating(
    tmp_path: Path, skipped: bool
) -> None:
    """One process does not have the benchmark, or skips it when it is reached."""
    lacking = [Timed(benchmark=name) for name in "xz"]
    if skipped:
        lacking.insert(1, Timed(benchmark="y", skipped=True))
    whole = [Timed(benchmark=name) for name in "xyz"]
    notes = alternate(tmp_path / "notes", a=lacking, b=whole)
    for name in "xz":
        assert rounds(notes, name) in ("ab" * 4, "ba" * 4)
    assert rounds(notes, "y") == "bbbb"


def test_round_server_benchmarks_of_one_process_run_alone(tmp_path: Path) -> None:
    a = [Timed(benchmark=name) for name in ("mine", "x")]
    b = [Timed(benchmark=name) for name in ("x", "yours")]
    notes = alternate(tmp_path / "notes", a=a, b=b)
    assert (rounds(notes, "mine"), rounds(notes, "yours")) == ("aaaa", "bbbb")
    assert rounds(notes) in ("ab" * 4, "ba" * 4)


def test_round_server_different_order_does_not_deadlock(tmp_path: Path) -> None:
    notes = alternate(
        tmp_path / "notes",
        a=[Timed(benchmark=name) for name in "xy"],
        b=[Timed(benchmark=name) for name in "yx"],
    )
    assert [sorted(rounds(notes, name)) for name in "xy"] == [list("aaaabbbb")] * 2


def test_round_server_failing_call_does_not_block_the_other_process(tmp_path: Path) -> None:
    a = [Timed(benchmark="x", fails=True), Timed(benchmark="y")]
    b = [Timed(benchmark="x"), Timed(benchmark="y")]
    notes = alternate(tmp_path / "notes", a=a, b=b)
    assert rounds(notes, "x").count("b") == 4
    assert rounds(notes, "y") in ("ab" * 4, "ba" * 4)


def test_round_server_process_that_dies_ends_the_benchmark(tmp_path: Path) -> None:
    order = rounds(alternate(tmp_path / "notes", a=[Timed(rounds=1000)], b=[Timed(dies=True)]))
    assert order.count("b") == 1
    assert order.count("a") < 1000


def test_round_server_process_that_ends_without_rounds_does_not_block(tmp_path: Path) -> None:
    notes = alternate(tmp_path / "notes", a=[Timed(rounds=2)], b=[])
    assert rounds(notes) == "aa"
