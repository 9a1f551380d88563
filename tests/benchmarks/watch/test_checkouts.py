"""Benchmarks of two checkouts run in turn, with a real repository and real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from benchmarks.watch.__main__ import watch
from benchmarks.watch.checkouts import Side, runs_in_pairs, runs_in_turn
from benchmarks.watch.history import BenchmarkRun
from benchmarks.watch.verdicts import Thresholds, judge_pairs
from command_line import command_in_process

from benchmarks.watch import checkouts
from clsbench.cli.main import main
from clsbench.errors import ClsbenchError, NotMeasuredError, UsageError

REPOSITORY = Path(__file__).resolve().parents[3]

BENCHMARK = """
import time

import pytest
import torch

import thing
from clsbench.bench.phases import PhaseWorkload


def test_waiting(timed, benchmark):
    benchmark.group = "waiting"
    timed(workload(lambda: time.sleep(thing.SECONDS)))


def test_failing_after_a_while(timed, benchmark):
    calls = []

    def do():
        calls.append(None)
        time.sleep(0.01)
        if thing.SECONDS == 0.006 and len(calls) > 60:
            raise RuntimeError("it had enough")

    timed(workload(do))


def test_waiting_again(timed, benchmark):
    if thing.SECONDS == 0.006:
        pytest.skip("not any more")
    timed(workload(lambda: time.sleep(0.01)))


def test_waiting_at_last(timed, benchmark):
    timed(workload(lambda: time.sleep(0.01)))


def workload(do):
    return PhaseWorkload(
        name="wait", phase="wait", device=torch.device("cpu"), examples=1, real_tokens=1,
        padded_tokens=1, prepare=lambda stack: None, do=do,
    )
"""


LEAST_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--turns")
"""

OUT_OF_ORDER = """
def test_broken(benchmark):
    raise RuntimeError("out of order")
"""


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", repository, "-c", "user.name=x", "-c", "user.email=x@x", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Sources that wait 4 ms at the tag ``old``, and 6 ms in the working tree."""
    folder = tmp_path / "repository"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "src").mkdir()
    for name in ("conftest.py", "rounds.py", "round_client.py", "pytest.ini"):
        shutil.copy(REPOSITORY / "benchmarks" / name, folder / "benchmarks" / name)
    (folder / "benchmarks" / "test_thing.py").write_text(BENCHMARK)
    (folder / "src" / "thing.py").write_text("SECONDS = 0.004\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "waits 4 ms")
    git(folder, "tag", "old")
    (folder / "src" / "thing.py").write_text("SECONDS = 0.006\n")
    return folder


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a shell: in a worker of pytest-xdist, nothing would be timed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = os.pathsep.join(
        [str(REPOSITORY / "src"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    )
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_check_against_revision_compares_checkouts_in_pairs(
    repository: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pair is measured and used for all, since each takes seconds.

    Does not check which is faster, since the load varies; benchmarks/false_alarms.py does.
    """
    measured: dict[str, BenchmarkRun] = {}

    def measure_once(repository: Path, sides: Sequence[Side], folder: Path) -> list[BenchmarkRun]:
        if not measured:
            runs = runs_in_turn(repository, sides, folder)
            measured.update({side.name: run for side, run in zip(sides, runs, strict=True)})
        return [measured[side.name] for side in sides]

    monkeypatch.setattr(checkouts, "runs_in_turn", measure_once)
    environment["PYTEST_ADDOPTS"] = "--seconds 0.3 --load-limit 1000"
    start = partial(main, group=watch, prog_name="python -m benchmarks.watch")
    done = command_in_process(start, environment, repository)(
        "check", "--json", "--pairs", "5", "--select", "test_waiting and not again and not last",
        "--threads", "1", "--threshold", "90",  # no load varies so much
        "--against", "old",
    )  # fmt: skip
    assert done.returncode in (0, 1, 4), done.stdout + done.stderr
    report = json.loads(done.stdout)
    (verdict,) = report["verdicts"]
    assert verdict["group"] == "waiting"
    assert report["pairs"] == 5
    assert done.stderr.splitlines() == [f"pair {number} of 5 …" for number in range(1, 6)]
    assert git(repository, "worktree", "list").count("\n") == 0, "the other worktree is removed"


def test_runs_in_pairs_invalid_checkout_or_revision_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is not a checkout with benchmarks/"):
        runs_in_pairs(tmp_path, "HEAD", [], lambda done: True)
    for revision in ("nowhere", "-f", ""):
        with pytest.raises(UsageError, match=f"unknown revision '{revision}' in"):
            runs_in_pairs(repository, revision, [], lambda done: True)


@pytest.fixture
def out_of_order(repository: Path) -> Path:
    """The repository with a benchmark that fails; nothing is imported, which takes seconds."""
    for name, text in (("conftest.py", LEAST_CONFTEST), ("test_thing.py", OUT_OF_ORDER)):
        (repository / "benchmarks" / name).write_text(text)
    return repository


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "expected"),
    [
        ([], NotMeasuredError, r"with exit code 1:(.|\n)*out of order"),
        (["-k", "nothing_like_this"], UsageError, "no benchmark of .+ is selected by '-k nothing_"),
        (["-k", "wrong("], UsageError, r"Wrong expression passed to '-k': wrong\("),
        (["--no-such-option"], NotMeasuredError, "the benchmarks of .+ end with exit code 4"),
    ],
)
def test_runs_in_pairs_benchmarks_that_do_not_run_raise_an_error(
    out_of_order: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[ClsbenchError],
    expected: str,
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(error, match=expected) as raised:
        runs_in_pairs(out_of_order, "old", arguments, lambda done: True)
    assert raised.value.exit_code != 1, "exit code 1 means slower"


@pytest.mark.slow
def test_runs_in_pairs_failing_and_missing_benchmarks_do_not_stop_the_others(
    repository: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other side and the following benchmarks go on, and in turn."""
    broken = repository / "benchmarks" / "test_broken.py"
    broken.write_text("def test_broken(timed):\n    assert not 'whatever is timed'\n")
    environment["FORCE_COLOR"] = "1"
    environment["PYTEST_ADDOPTS"] = "-rN"
    monkeypatch.setattr(os, "environ", environment)
    arguments = ["--seconds=1", "--load-limit=1000", "--threads=1"]
    with caplog.at_level("WARNING"):
        ((before, after),) = runs_in_pairs(repository, "old", arguments, lambda done: not done)
    names = {name.partition("::")[2]: name for name in before.results}
    again, failing, last = (
        names[f"test_{name}"] for name in ("waiting_again", "failing_after_a_while",
                                           "waiting_at_last")
    )  # fmt: skip
    assert set(names) == {
        "test_broken", "test_waiting", "test_failing_after_a_while", "test_waiting_again",
        "test_waiting_at_last",
    }  # fmt: skip
    assert set(after.results) == set(before.results) - {again}
    assert f"{failing} of the working tree failed" in caplog.text
    assert "it had enough" in caplog.text
    assert before.results[failing].seconds
    assert after.results[failing].seconds is None
    one, other = (run.results[last].rounds for run in (before, after))
    assert len(one) == len(other) >= 6
    both = sorted([(each.started, 0) for each in one] + [(each.started, 1) for each in other])
    sides = [side for _, side in both]
    assert sides in ([0, 1] * len(one), [1, 0] * len(one))
    verdicts = judge_pairs([(before, after)] * 5, Thresholds(0.05))
    outcomes = {verdict.benchmark: verdict.outcome for verdict in verdicts}
    assert outcomes[failing] == outcomes[names["test_broken"]] == "not measured"
