"""``benchmarks/gpu.py``: it keeps what was measured, however it ends. No test needs a GPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import bounded_parts
import gpu_parts
from bounded_parts import Part, PartReport, run_part, run_parts, write_json
from gpu import heading_of, main
from gpu_page import REHEARSAL, Heading, page
from gpu_parts import KINDS, Job

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py")]
HEADING = Heading(
    date="2026-01-01", versions={"torch": "2"}, device_name="a GPU", rehearse=True, minutes=8
)
WRITE = "import json, pathlib, sys; pathlib.Path(sys.argv[-1]).write_text(json.dumps({}));"


def part(name: str, code: str, limit_seconds: float = 60) -> Part:
    """A part whose process runs ``code``; its last argument is the file for its results."""
    return Part(name, f"runs {name}", (sys.executable, "-c", code), limit_seconds)


def writing(value: object) -> str:
    return WRITE.replace("{}", repr(value))


def ignore(reports: Sequence[PartReport]) -> None:
    """No page."""


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def test_run_parts_beyond_its_limit_is_killed_with_its_child_processes(tmp_path: Path) -> None:
    ids = tmp_path / "child"
    sleeping = (
        "import subprocess, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"pathlib.Path({str(ids)!r}).write_text(str(child.pid));"
        "print('said before the end', flush=True); time.sleep(600)"
    )
    for limit_seconds in (2, 8, 32):  # until it is long enough for this machine
        parts = [part("hangs", writing([1, 2]) + sleeping, limit_seconds)]
        hangs, after = run_parts([*parts, part("next", writing(3))], tmp_path, 600, ignore)
        if hangs.output:
            break
    assert (hangs.status, hangs.result) == ("ended at its limit", [1, 2])
    assert "said before the end" in hangs.output
    assert (after.status, after.result) == ("finished", 3)
    assert json.loads((tmp_path / "hangs.json").read_text())["result"] == [1, 2]
    assert not is_running(int(ids.read_text()))
    assert {file.name for file in tmp_path.iterdir()} == {"hangs.json", "next.json", "child"}


def is_running(process_id: int) -> bool:
    """Whether the process runs; one that its new parent has not waited for yet does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_run_parts_that_fails_leaves_the_results_of_the_others(tmp_path: Path) -> None:
    parts = [
        part("first", writing(1)),
        part("fails", writing("half") + "sys.exit('no such device')"),
        part("crashes", "import os; os.abort()"),
        part("last", writing(2)),
    ]
    reports = run_parts(parts, tmp_path, 600, ignore)
    assert [(each.status, each.reason, each.result) for each in reports] == [
        ("finished", "", 1),
        ("failed", "exit code 1", "half"),
        ("failed", "ended by SIGABRT", None),
        ("finished", "", 2),
    ]
    assert "no such device" in reports[1].output
    for each in reports:
        assert json.loads((tmp_path / f"{each.name}.json").read_text())["result"] == each.result


@pytest.mark.slow
def test_run_parts_when_time_is_up_ends_the_part_and_skips_the_others(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    parts = [part("long", writing(1) + "import time; time.sleep(600)"), part("next", writing(2))]
    for seconds in (2, 8, 32):  # until it is long enough for this machine
        seen.clear()
        long, after = run_parts(
            parts, tmp_path, seconds, lambda all: seen.append([each.status for each in all])
        )
        if long.result is not None:
            break
    assert (long.status, long.result) == ("ended at its limit", 1)
    assert (long.limit_seconds, long.reason) == (
        pytest.approx(seconds, abs=1), f"not finished after {seconds} s",
    )  # fmt: skip
    assert (after.status, after.reason) == ("skipped", f"the {seconds} s for all parts are over")
    assert seen == [
        ["running", "not started"],
        ["ended at its limit", "not started"],
        ["ended at its limit", "skipped"],
    ]
    assert not (tmp_path / "next.json").exists()
    assert after.reason in page(HEADING, [after], "Finished")


def test_run_parts_after_a_killed_part_ends_its_child_processes(tmp_path: Path) -> None:
    ids = tmp_path / "child"
    killed = (
        "import os, signal, subprocess;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"pathlib.Path({str(ids)!r}).write_text(str(child.pid));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    (report,) = run_parts([part("killed", writing(1) + killed)], tmp_path, 600, ignore)
    assert (report.status, report.result) == ("failed", 1)
    assert report.reason.startswith("ended by SIGKILL, as the system does when ")
    wait_until(lambda: not is_running(int(ids.read_text())))


def wait_until(condition: Callable[[], bool]) -> None:
    """SIGKILL takes effect a moment later."""
    while not condition():
        time.sleep(0.01)


def test_whole_runs_that_are_killed_fail_the_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kills_itself = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(gpu_parts, "_CLSBENCH", (sys.executable, "-c", kills_itself))
    job = Job(part="whole", device="cpu", output=str(tmp_path), rehearse=True)
    saved: list[Any] = []
    with pytest.raises(SystemExit) as ended:
        KINDS["whole"].run(job, saved.append)
    assert ended.value.code == 1
    assert [row["exit_code"] for row in saved[-1]] == [-signal.SIGKILL]


def write_report(folder: Path, name: str, conditions: str) -> bytes:
    """Results on freezing strategies, as an earlier command has left them."""
    rows = [{"freezing": "all", "precision": "fp32", "phase": "all", "failed": "failed: as said"}]
    report = PartReport(
        name=name, about=KINDS[name].about, status="finished", limit_seconds=1, result=rows,
        date="2026-01-02", conditions=conditions,
    )  # fmt: skip
    write_json(folder / f"{name}.json", report)
    return (folder / f"{name}.json").read_bytes()


@pytest.mark.slow
def test_gpu_with_a_chosen_part_keeps_the_others(tmp_path: Path) -> None:
    here = heading_of(rehearse=True, minutes=60, chosen=()).conditions()
    before = write_report(tmp_path, "freezing", here)
    arguments = ["--rehearse", "--output", str(tmp_path), "--part", "doctor"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=environment())
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu.md").read_text()
    assert "Only these parts were run: doctor." in text
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = {row[0]: row[2:4] for row in table if len(row) == 6}
    assert rows["doctor"][0] == "finished"
    assert rows["freezing"] == ["finished", "2026-01-02"]
    assert "race" not in rows
    assert "## Doctor" in text
    assert "failed: as said" in text
    assert (tmp_path / "freezing.json").read_bytes() == before


@pytest.mark.parametrize("part", [["--part", "doctor"], []], ids=["a part", "all parts"])
def test_gpu_with_results_of_other_conditions_is_refused(part: list[str], tmp_path: Path) -> None:
    write_report(tmp_path, "freezing", "NVIDIA H200 (CUDA 13.0); torch 2.11.0")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    arguments = ["--rehearse", "--output", str(tmp_path), *part]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    problem, there, now, advice = done.stderr.splitlines()
    assert problem == f"error: {tmp_path / 'freezing.json'} is of other conditions:"
    assert there.endswith("NVIDIA H200 (CUDA 13.0); torch 2.11.0")
    assert now.endswith("; rehearsal")
    assert advice == "choose another folder for --output"
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_page_of_a_rehearsal_says_that_nothing_ran_on_a_gpu() -> None:
    reports = [
        PartReport(
            name=name, about=kind.about, status="not started", limit_seconds=kind.limit_seconds
        )
        for name, kind in KINDS.items()
    ]
    assert REHEARSAL in page(HEADING, reports, "Not finished yet")
    on_a_gpu = page(HEADING._replace(rehearse=False), reports, "Not finished yet")
    assert REHEARSAL not in on_a_gpu
    assert on_a_gpu.count("not measured") == 4, "one for each target"


def test_page_with_results_that_it_cannot_show_names_their_file() -> None:
    odd = PartReport(name="race", about="", status="finished", limit_seconds=1, result={"rows": 1})
    assert "`race.json` cannot be shown here: KeyError" in page(HEADING, [odd], "Finished")


def test_page_shows_the_output_of_a_part_that_failed() -> None:
    failed = PartReport(
        name="race", about="", status="failed", limit_seconds=1, output="a\nCUDA out of memory\n"
    )
    assert "    CUDA out of memory\n" in page(HEADING, [failed], "Finished")


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.5, "reached"), (5.0, "**not reached**")], ids=str
)
def test_page_judges_the_targets_by_what_was_measured(seconds: float, verdict: str) -> None:
    phases = {"prefix": seconds, "training": 1.0, "evaluation": 0.25, "model": 100.0}
    row = {
        "name": "row 1, nothing kept", "exit_code": 0, "process_seconds": 9.0,
        "record": {"status": "finished", "phases_seconds": phases},
    }  # fmt: skip
    whole = PartReport(name="whole", about="", status="finished", limit_seconds=1, result=[row])
    text = page(HEADING._replace(rehearse=False), [whole], "Finished")
    assert f"| {seconds + 1.25:g} s | {verdict} |" in text


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_gpu_interrupted_keeps_the_page_of_what_was_done(
    number: int, code: int, tmp_path: Path
) -> None:
    arguments = ["--rehearse", "--output", str(tmp_path), "--part", "doctor", "--part", "tests"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("tests: running"):
                break
        assert "| tests | " in (tmp_path / "gpu.md").read_text()
        log = tmp_path / "tests.log"
        while not log.exists() or not log.stat().st_size:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code
    assert "tests: interrupted" in rest
    text = (tmp_path / "gpu.md").read_text()
    assert "Interrupted after" in text
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    assert "| finished |" in rows["doctor"]
    assert "| interrupted" in rows["tests"]
    assert "## Doctor" in text
    assert json.loads((tmp_path / "doctor.json").read_text())["result"]["versions"]["torch"]
    assert json.loads((tmp_path / "tests.json").read_text())["status"] == "interrupted"


def test_gpu_without_one_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--output", str(tmp_path / "out")],
        capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: torch ")
    assert "install one with CUDA (" in line or "check the driver (nvidia-smi)" in line
    assert "--rehearse" in line
    assert not (tmp_path / "out").exists()


def test_heading_on_a_gpu_names_it_with_its_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.cuda`` is simulated."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    conditions = heading_of(rehearse=False, minutes=8, chosen=()).conditions()
    assert conditions.startswith("NVIDIA H200 (CUDA 13.0), ")
    assert f"torch {torch.__version__}, commit " in conditions


def test_gpu_requirements_lists_what_is_needed_beyond_torch() -> None:
    done = subprocess.run(
        [*COMMAND, "--requirements"], capture_output=True, text=True, check=True, env=environment()
    )
    listed = [line.partition("#")[0].strip() for line in done.stdout.splitlines()]
    needed = {Requirement(line).name.lower(): Requirement(line) for line in listed if line}
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    assert all(each.specifier for each in needed.values() if each.name.lower() in installed)
    assert {"msgspec", "rich-click", "pytest", "nvidia-ml-py", "llms-from-scratch"} <= set(needed)
    for present in ("torch", "sympy", "networkx", "clsbench", "colorama", "tomli"):
        assert present not in needed, "torch's own, this project, or for another system"
    assert "MB installed" in done.stdout


def test_requirements_of_the_project_allow_python_3_12_and_torch_2_11() -> None:
    assert "3.12.3" in SpecifierSet(metadata.metadata("clsbench")["Requires-Python"])
    stated = map(Requirement, metadata.requires("clsbench") or ())
    (torch,) = [each.specifier for each in stated if each.name == "torch"]
    assert "2.11.0+cu130" in torch


OWN_PROCESS = ("doctor", "tests", "whole", "trace")
"""The parts that are rehearsed in processes of their own."""


def run_here(part: Part, folder: Path, conditions: str = "") -> PartReport:
    """Run a part in this process, which has imported torch, unless it needs its own."""
    if part.name in OWN_PROCESS:
        return run_part(part, folder, conditions)
    saved: list[bytes] = []
    code: object = 0
    try:
        job = msgspec.json.decode(part.command[-1], type=Job)
        KINDS[part.name].run(job, lambda result: saved.append(msgspec.json.encode(result)))
    except SystemExit as ended:
        code = ended.code
    return PartReport(
        name=part.name, about=part.about, status="failed" if code else "finished",
        limit_seconds=part.limit_seconds, result=msgspec.json.decode(saved[-1]),
        conditions=conditions,
    )  # fmt: skip


@pytest.mark.slow
def test_gpu_rehearsal_runs_every_part(
    assets_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llms_from_scratch", reason="the peer is absent")
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setattr(bounded_parts, "run_part", run_here)
    with pytest.raises(SystemExit) as ended:
        main(["--rehearse", "--assets", str(assets_dir), "--output", str(tmp_path)])
    assert ended.value.code == 0
    text = (tmp_path / "gpu.md").read_text()
    assert REHEARSAL in text
    reports = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in KINDS}
    assert {report["status"] for report in reports.values()} == {"finished"}
    results = {name: report["result"] for name, report in reports.items()}
    assert results["tests"]["by_file"]
    assert results["tests"]["failed"] == []
    raced = results["race"]["rows"]
    assert {row["mode"] for row in raced} == {"fp32", "tf32", "bf16"}
    assert [row["verdict"] for row in raced] == [""] * 3
    for row in raced:
        assert row["book"]["ratio"] > 0
        assert row["fast_book"]["ratio"] > 0
        assert row["ours_over_bound"] > 0
    assert [row["record"]["status"] for row in results["whole"]] == ["finished"]
    assert [row["verdict"] for row in results["compile"]] == [""]
    assert results["trace"]["steps"] > 0
    assert (tmp_path / results["trace"]["trace"]).stat().st_size > 0
    assert {row["side"] for row in results["memory"]} == {"clsbench", "book", "GPTModelFast"}
    assert all(row["held_bytes"] > 0 and row["step_bytes"] > 0 for row in results["memory"])
    assert all(row["examples_per_second"] > 0 for row in results["freezing"])
