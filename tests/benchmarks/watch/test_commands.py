"""``python -m benchmarks.watch history`` and ``check`` over runs that pytest-benchmark stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import Command

MACHINE = {"cpu": "AMD EPYC", "cores": 2, "threads": 2, "torch": "2.13.0", "gpus": []}
NAMES = ("test_phases.py::test_freezing[cpu-forward-all]", "test_components.py::test_head[linear]")


def commit_id(number: int) -> str:
    return f"{number:02}" * 20


def store(
    folder: Path,
    number: int,
    seconds: Sequence[float | None],
    threads: int = 2,
    commit: int | None = None,
    dirty: bool = False,
) -> None:
    benchmarks = [
        {
            "fullname": name,
            "group": "freezing: forward" if "freezing" in name else "heads",
            "extra_info": {"quiet_median_seconds": time},
        }
        for name, time in zip(NAMES, seconds, strict=True)
    ]
    content = {
        "machine_info": {"clsbench": {**MACHINE, "threads": threads}},
        "commit_info": {"id": commit_id(commit or number), "dirty": dirty},
        "datetime": f"2026-02-{number:02}T10:00:00",
        "benchmarks": benchmarks,
    }
    (folder / f"{number:04}.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six runs that differ by less than one percent."""
    folder = tmp_path / "history"
    folder.mkdir()
    for number, factor in enumerate((1.0, 1.004, 0.997, 1.002, 0.999, 1.001), 1):
        store(folder, number, [0.020 * factor, 0.0004 * factor])
    return folder


def test_watch_as_a_module_lists_its_commands() -> None:
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.watch", "--help"],
        cwd=repository, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout


def test_check_unchanged_run_passes(watch: Command, folder: Path) -> None:
    done = watch("check", "--from", folder, env={"COLUMNS": "140"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("no difference shown") == 2
    assert "test_head[linear]" in done.stdout


def test_check_slower_run_fails_and_names_the_benchmark(watch: Command, folder: Path) -> None:
    store(folder, 9, [0.0202, 0.00045])
    done = watch("check", "--from", folder, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    verdicts = {v["benchmark"]: v["outcome"] for v in report["verdicts"]}
    assert verdicts == {NAMES[0]: "no difference shown", NAMES[1]: "slower"}
    assert report["commit"] == commit_id(9)[:10]
    tolerant = watch("check", "--from", folder, "--threshold", "heads=0.2")
    assert tolerant.returncode == 0


def test_check_ignores_earlier_runs_of_the_same_commit(watch: Command, folder: Path) -> None:
    for number in (8, 9):
        store(folder, number, [0.026, 0.0004], commit=9)
        done = watch("check", "--from", folder, "--json")
        assert done.returncode == 1
        assert "of other commits" in json.loads(done.stdout)["judged_by"]


def test_check_disturbed_or_new_benchmarks_exit_with_4(watch: Command, folder: Path) -> None:
    store(folder, 9, [None, 0.0004])
    done = watch("check", "--from", folder, env={"COLUMNS": "140"})
    assert done.returncode == 4
    assert "not measured" in done.stdout
    store(folder, 10, [0.02, 0.0004], threads=1)
    done = watch("check", "--from", folder, env={"COLUMNS": "140"})
    assert done.returncode == 4
    assert done.stdout.count("too few runs") == 2, "earlier runs are on another machine"


def test_baseline_is_stored_and_used_by_check(watch: Command, folder: Path) -> None:
    for number, factor in enumerate((1.5, 1.503, 1.498, 1.501, 1.5, 1.497), 10):
        store(folder, number, [0.020 * factor, 0.0004 * factor], commit=7)
    baseline = folder.parent / "baseline"
    arguments = ["baseline", "--from", folder, "--to", baseline]
    made = watch(*arguments)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"6 runs of {commit_id(7)[:10]}, ")
    # Compared with all earlier runs, the new run would not be slower than the latest of them.
    store(folder, 20, [0.032, 0.0006], commit=8)
    by = watch("check", "--from", folder, "--by", baseline, "--json")
    verdicts = {v["benchmark"]: v for v in json.loads(by.stdout)["verdicts"]}
    assert verdicts[NAMES[0]]["outcome"] == "slower"
    assert verdicts[NAMES[0]]["ratio"] == pytest.approx(0.032 / 0.03, rel=0.01)
    assert verdicts[NAMES[1]]["outcome"] == "no difference shown"
    assert by.returncode == 1
    again = watch(*arguments)
    assert again.returncode == 2
    assert "there are 1: run pytest benchmarks/ 4 more times" in again.stderr
    assert len(list(baseline.rglob("*.json"))) == 6, "the stored baseline is kept"


def test_check_uses_the_baseline_of_the_checkout(watch: Command, folder: Path) -> None:
    for number in range(10, 16):
        store(folder, number, [0.01, 0.0002], commit=7)
    assert watch("baseline", "--from", folder).returncode == 0
    store(folder, 21, [0.02, 0.0004])
    check = ["check", "--from", folder]
    assert "judged by 6 runs of" in watch(*check).stdout
    earlier = watch(*check, "--by", folder)
    assert "judged by 12 runs of" in earlier.stdout
    store(folder, 22, [0.02, 0.0004], threads=1)
    assert "judged by 0 earlier runs on a like machine" in watch(*check).stdout


def test_baseline_of_uncommitted_sources_is_refused(watch: Command, folder: Path) -> None:
    store(folder, 9, [0.02, 0.0004], dirty=True)
    done = watch("baseline", "--from", folder)
    assert done.returncode == 2
    assert "commit them and run pytest benchmarks/" in done.stderr
    assert not (folder.parent / "cwd" / "benchmarks").exists()


def test_history_groups_runs_by_machine_and_draws_a_plot(
    watch: Command, folder: Path, tmp_path: Path
) -> None:
    store(folder, 9, [0.04, 0.0004], threads=1)
    (folder / "broken.json").write_text("{")
    plot = tmp_path / "history.svg"
    done = watch("history", "--from", folder, "--plot", plot, env={"COLUMNS": "160"})
    assert done.returncode == 0
    assert "machine 1, 6 runs: cores 2, cpu AMD EPYC, threads 2, torch 2.13.0" in done.stdout
    assert "machine 2, 1 run: " in done.stdout
    assert "20 ms" in done.stdout
    assert "broken.json is not a run of these benchmarks" in done.stderr
    assert plot.read_text().count("<path") > 10
    listed = watch("history", "--from", folder, "--only", "heads", "--json")
    runs = json.loads(listed.stdout)["runs"]
    assert [list(run["seconds"]) for run in runs] == [[NAMES[1]]] * 7


def test_history_shows_as_many_runs_as_fit_the_line(watch: Command, folder: Path) -> None:
    done = watch("history", "--from", folder, env={"COLUMNS": "80"})
    (line,) = (line for line in done.stdout.splitlines() if "20.02 ms" in line or "20 ms" in line)
    assert line.count(" ms") == 3


def test_check_run_dated_in_the_future_is_refused(watch: Command, folder: Path) -> None:
    file = folder / "0009_20991231_120000.json"
    file.write_text((folder / "0006.json").read_text().replace("2026-02-06", "2099-12-31"))
    done = watch("check", "--from", folder)
    assert done.returncode == 4
    assert "0009_20991231_120000.json is dated 2099-12-31: the clock was wrong" in done.stderr
    assert "remove it" in done.stderr


def test_check_unreadable_latest_run_is_an_error(watch: Command, folder: Path) -> None:
    os.utime(folder / "0006.json", (1, 1))
    latest = folder / "0007.json"
    latest.write_text("{")
    done = watch("check", "--from", folder)
    assert done.returncode == 4
    assert f"error: {latest} is not a run of these benchmarks" in done.stderr
    assert "written after every run that can be read" in done.stderr
    assert done.stdout == ""
    os.utime(latest, (0, 0))
    assert watch("check", "--from", folder).returncode == 0
    # The names that pytest-benchmark gives hold the time of writing, also for copies.
    (folder / "0006.json").rename(folder / "0006_abc_20260206_100000.json")
    old = latest.rename(folder / "0005_abc_20260205_100000.json")
    os.utime(old)
    assert watch("check", "--from", folder).returncode == 0
    old.rename(folder / "0007_abc_20260207_100000.json")
    assert watch("check", "--from", folder).returncode == 4


def test_check_damaged_baseline_is_refused(watch: Command, folder: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "cwd" / "benchmarks" / "baseline"
    baseline.mkdir(parents=True)
    empty = watch("check", "--from", folder, "--by", baseline)
    assert empty.returncode == 2
    assert "no benchmark runs in" in empty.stderr
    (baseline / "0001.json").write_text("<<<<<<< HEAD")
    for arguments in (["--by", baseline], []):
        done = watch("check", "--from", folder, *arguments)
        assert done.returncode == 2
        assert "restore the file, or replace the baseline" in done.stderr


def test_check_threshold_without_matching_benchmark_is_refused(
    watch: Command, folder: Path
) -> None:
    done = watch("check", "--from", folder, "--threshold", "no such=0.5")
    assert done.returncode == 2
    assert "--threshold no such=…: no benchmark here has that in its name" in done.stderr
    spaced = watch("check", "--from", folder, "--threshold", " heads = 0.5")
    assert spaced.returncode == 0, spaced.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "--from", "nowhere"], "no benchmark runs in nowhere"),
        (["history", "--from", "nowhere"], "pytest benchmarks/ makes one"),
        (["check", "--by", ".", "--against", "main"], "--by selects stored runs"),
        (["check", "--from", ".", "--against", "main"], "--from selects stored runs"),
        (["check", "--threshold", "0.001"], "less than 0.01 cannot be detected"),
        (["check", "--by", "nowhere"], "'nowhere' does not exist"),
        (["check", "--threads", "1"], "--threads requires --against REV"),
        (["check", "--pairs", "5"], "--pairs requires --against REV"),
        (["check", "--select", "forward"], "--select requires --against REV"),
        (["check", "--threshold", "much"], "is not FRACTION or NAME=FRACTION"),
        (["check", "--threshold", "=0.3"], "names no benchmarks before the ="),
        (["history", "--plot", "x.gif"], "expected .svg, .pdf or .png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_watch_invalid_arguments_are_refused(
    watch: Command, arguments: list[str], message: str
) -> None:
    done = watch(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
