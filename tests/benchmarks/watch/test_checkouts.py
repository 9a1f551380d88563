"""Benchmarks of two checkouts run in turn, with a real repository and real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.watch.checkouts import runs_in_pairs
from benchmarks.watch.verdicts import Thresholds, judge_pairs

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
    repository: Path, environment: dict[str, str]
) -> None:
    """Does not check which is faster, since the load varies; benchmarks/false_alarms.py does."""
    command = [
        sys.executable, "-m", "benchmarks.watch", "check", "--json", "--pairs", "5",
        "--select", "test_waiting and not again and not last", "--threads", "1",
        "--threshold", "90",  # no load varies so much that more pairs are needed
    ]  # fmt: skip
    environment["PYTEST_ADDOPTS"] = "--seconds 0.3 --load-limit 1000"
    done = subprocess.run(
        [*command, "--against", "old"],
        cwd=repository, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1, 4), done.stdout + done.stderr
    (verdict,) = json.loads(done.stdout)["verdicts"]
    assert verdict["group"] == "waiting"
    assert done.stderr.splitlines()[0] == "pair 1 of 5 …"
    assert git(repository, "worktree", "list").count("\n") == 0, "the other worktree is removed"


def test_runs_in_pairs_invalid_checkout_or_revision_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is not a checkout with benchmarks/"):
        runs_in_pairs(tmp_path, "HEAD", [], lambda done: True)
    for revision in ("nowhere", "-f", ""):
        with pytest.raises(UsageError, match=f"unknown revision '{revision}' in"):
            runs_in_pairs(repository, revision, [], lambda done: True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "expected"),
    [
        (["-k", "nothing_like_this"], UsageError, "no benchmark of .+ is selected by '-k nothing_"),
        (["-k", "wrong("], UsageError, r"Wrong expression passed to '-k': wrong\("),
        (["--no-such-option"], NotMeasuredError, "the benchmarks of .+ end with exit code 4"),
    ],
)
def test_runs_in_pairs_benchmarks_that_do_not_run_raise_an_error(
    repository: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[ClsbenchError],
    expected: str,
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(error, match=expected) as raised:
        runs_in_pairs(repository, "old", arguments, lambda done: True)
    assert raised.value.exit_code != 1, "exit code 1 means slower"


@pytest.mark.slow
def test_runs_in_pairs_benchmark_on_one_side_keeps_the_others_in_turn(
    repository: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    arguments = ["-k", "test_waiting", "--seconds=0.2", "--load-limit=1000", "--threads=1"]
    ((before, after),) = runs_in_pairs(repository, "old", arguments, lambda done: not done)
    names = {name.partition("::")[2]: name for name in before.results}
    assert set(names) == {"test_waiting", "test_waiting_again", "test_waiting_at_last"}
    assert names["test_waiting_again"] not in after.results
    last = names["test_waiting_at_last"]
    one, other = (run.results[last].rounds for run in (before, after))
    assert len(one) == len(other) >= 6
    both = sorted([(each.started, 0) for each in one] + [(each.started, 1) for each in other])
    sides = [side for _, side in both]
    assert sides in ([0, 1] * len(one), [1, 0] * len(one))


@pytest.mark.slow
def test_runs_in_pairs_failing_benchmark_does_not_stop_the_others(
    repository: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other side and the following benchmarks go on."""
    environment["FORCE_COLOR"] = "1"
    environment["PYTEST_ADDOPTS"] = "-rN"
    monkeypatch.setattr(os, "environ", environment)
    arguments = ["-k", "failing or last", "--seconds=1", "--load-limit=1000", "--threads=1"]
    with caplog.at_level("WARNING"):
        ((before, after),) = runs_in_pairs(repository, "old", arguments, lambda done: not done)
    assert "test_thing.py::test_failing_after_a_while of the working tree failed" in caplog.text
    assert "it had enough" in caplog.text
    failing, last = (f"test_thing.py::test_{name}" for name in ("failing_after_a_while",
                                                               "waiting_at_last"))  # fmt: skip
    assert set(before.results) == set(after.results) == {failing, last}
    assert before.results[failing].seconds
    assert after.results[failing].seconds is None
    assert len(after.results[last].rounds) > 6
    verdicts = judge_pairs([(before, after)] * 5, Thresholds(0.05))
    assert {v.benchmark: v.outcome for v in verdicts}[failing] == "not measured"


@pytest.mark.slow
def test_runs_in_pairs_all_benchmarks_fail_the_reason_is_reported(
    repository: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    broken = repository / "benchmarks" / "test_thing.py"
    broken.write_text("def test_broken(timed):\n    raise RuntimeError('out of order')\n")
    with pytest.raises(NotMeasuredError, match=r"with exit code 1:(.|\n)*out of order"):
        runs_in_pairs(repository, "old", [], lambda done: not done)


@pytest.mark.slow
def test_runs_in_pairs_failing_new_benchmark_is_not_measured(
    repository: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    broken = repository / "benchmarks" / "test_broken.py"
    broken.write_text("def test_broken(timed):\n    assert not 'whatever is timed'\n")
    arguments = ["-k", "broken or last", "--seconds=0.2", "--load-limit=1000", "--threads=1"]
    pairs = runs_in_pairs(repository, "old", arguments, lambda done: not done)
    outcomes = {v.benchmark: v.outcome for v in judge_pairs(pairs * 5, Thresholds(0.05))}
    assert outcomes["test_broken.py::test_broken"] == "not measured"
