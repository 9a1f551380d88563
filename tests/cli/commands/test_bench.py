"""``clsbench bench``: tables, JSON, CSV, plots and errors."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

QUICK = ("--budget", "0", "--load-limit", "1e9", "--threads", "1")


@pytest.mark.slow
def test_bench_prints_a_table_of_phases(clsbench: Command, spec_file: Path) -> None:
    done = clsbench("bench", spec_file, *QUICK, env={"COLUMNS": "150"})
    assert done.returncode == 0, done.stderr
    assert "phase" in done.stdout
    for phase in ("tokenize", "forward+backward", "cached train step", "evaluation"):
        assert f"{phase} " in done.stdout
        assert f"{phase} (" in done.stderr, "progress goes to stderr"
    assert "GFLOP/s in products of 2,048 × 2,048 matrices" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "optimizer step" in line)
    assert re.search(r"\d%|in caches", line), "its traffic, not its products"
    assert "one batch of 8 texts of" in done.stdout
    assert "USDT" not in done.stderr


@pytest.mark.slow
def test_bench_json_includes_all_samples(in_process: Command, spec_file: Path) -> None:
    done = in_process("bench", spec_file, *QUICK, "--phase", "forward", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "finished"
    (point,) = report["points"]
    (forward,) = point["measurements"]
    samples = forward["timing"]["samples"]
    seconds = sorted(sample["seconds"] for sample in samples)
    found = forward["timing"]["seconds"]
    assert seconds[0] <= found["low"] <= found["median"] <= found["high"] <= seconds[-1]
    assert forward["flops"] > 0
    assert forward["memory"]["allocated"] > 0
    assert forward["examples"] == point["spec"]["train"]["batch_size"] == 8
    assert forward["real_tokens"] < forward["padded_tokens"] == 8 * point["max_length"]
    assert point["limits"]["flops_per_second"] > 0


@pytest.mark.slow
def test_bench_sweep_writes_a_plot_and_a_table(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    plot, table = tmp_path / "growth.svg", tmp_path / "growth.csv"
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "forward", "--phase", "tokenize",
        "--sweep", "tokens=16,64", "--plot", plot, "--output", table,
        env={"COLUMNS": "150"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"forward +64 ", done.stdout)
    assert plot.read_text().count("<path") > 10
    rows = list(csv.DictReader(table.open()))
    assert [(row["data.padding"], row["phase"]) for row in rows] == [
        (tokens, phase) for tokens in ("16", "64") for phase in ("tokenize", "forward")
    ]
    assert {(row["precision"], row["threads"]) for row in rows} == {("fp32", "1")}
    assert all(float(row["peak_flops_per_second"]) > 0 for row in rows)
    assert {row["stable"] for row in rows} <= {"True", "False"}
    assert rows[0]["experiment"]
    assert rows[0]["device_name"]
    padded = [int(row["padded_tokens"]) for row in rows if row["phase"] == "forward"]
    assert padded == [128, 512]
    flops = [int(row["flops"]) for row in rows if row["phase"] == "forward"]
    assert flops[0] < flops[1] / 4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_bench_with_an_unwritable_output_prints_the_results(
    in_process: Command, spec_file: Path
) -> None:
    done = in_process("bench", spec_file, *QUICK, "--phase", "tokenize", "--output", "/dev/full")
    assert done.returncode == 2
    assert "tokenize " in done.stdout
    assert "/dev/full cannot be written: No space left on device" in done.stderr


@pytest.mark.slow
def test_bench_sweep_with_a_failing_value_measures_the_others(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    """A huge learning rate makes weights infinite."""
    table = tmp_path / "sweep.csv"
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "train step", "--phase", "tokenize",
        "--sweep", "train.lr=1e-5,1e38", "--output", table, env={"COLUMNS": "140"},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert "train step of 1e38 failed: " in done.stderr
    assert "train step: failed: " in done.stdout
    rows = [(row["train.lr"], row["phase"]) for row in csv.DictReader(table.open())]
    assert rows == [("1e-5", "tokenize"), ("1e-5", "train step"), ("1e38", "tokenize")]
    compared = in_process(
        "bench", spec_file, *QUICK, "--phase", "train step",
        "--compare", "train.lr=1e-5", "train.lr=1e38",
    )  # fmt: skip
    assert compared.returncode == 4, compared.stderr
    assert "train step failed: " in compared.stderr


@pytest.mark.slow
def test_bench_without_measurements_draws_no_plot(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.svg"
    done = in_process(
        "bench", spec_file, *QUICK, "--quiet", "--phase", "prefix", "--sweep", "train.lr=1,2",
        "--plot", plot,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == f"error: nothing was measured; {plot} is not written\n"
    assert not plot.exists()


@pytest.mark.slow
def test_bench_sweep_over_components_measures_each(in_process: Command, spec_file: Path) -> None:
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "prefix", "--sweep", "freezing=all,last-blocks:n=1",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    everything, last = json.loads(done.stdout)["points"]
    assert everything["measurements"] == []
    assert everything["left_out"][0]["reason"] == "the first stage (embeddings) is trained"
    assert last["value"] == "last-blocks:n=1"
    assert [measured["phase"] for measured in last["measurements"]] == ["prefix"]


@pytest.mark.slow
def test_bench_sweep_over_run_options_measures_each(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    table, plot = tmp_path / "precisions.csv", tmp_path / "precisions.svg"
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "forward", "--sweep", "precision=fp32,fp64",
        "--output", table, "--plot", plot, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["swept"] == "precision"
    single, double = report["points"]
    message = [point["environment"]["precision"] for point in (single, double)]
    assert message == ["fp32", "fp64"]
    assert [point["environment"]["threads"] for point in (single, double)] == [1, 1]
    peaks = [point["limits"]["flops_per_second"] for point in (single, double)]
    assert peaks[0] != peaks[1], "each has its own peak"
    rows = list(csv.DictReader(table.open()))
    assert [(r["setting"], r["precision"]) for r in rows] == [("fp32", "fp32"), ("fp64", "fp64")]
    assert "fp32 and fp64, 1 thread" in plot.read_text()
    threads = in_process(
        "bench", spec_file, "--budget", "0", "--load-limit", "1e9", "--phase", "tokenize",
        "--sweep", "threads=1,2", env={"COLUMNS": "140"},
    )  # fmt: skip
    assert threads.returncode == 0, threads.stderr
    assert "threads = 2" in threads.stdout
    assert threads.stdout.count("measured peak: ") == 2


@pytest.mark.slow
def test_bench_on_a_busy_machine_reports_no_measurement(
    in_process: Command, spec_file: Path
) -> None:
    """With a load limit of 0, other processes always disturb."""
    done = in_process(
        "bench", spec_file, "--phase", "tokenize", "--budget", "0", "--load-limit", "0",
        "--threads", "1",
    )  # fmt: skip
    not_measured = "not measured: tokenize: too few undisturbed samples"
    assert (done.returncode, not_measured in done.stderr) in ((4, True), (0, False)), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phase", "foward"], "unknown phase 'foward'"),
        (["--sweep", "batch"], "--sweep 'batch' is not KEY=A,B,C"),
        (["--sweep", "batch=8,8"], "names a value twice"),
        (["--sweep", "batch=8,0"], "train.batch_size"),
        (["--sweep", "batch=8", "--sweep", "tokens=16"], "--sweep is given twice"),
        (["--sweep", "batch=4,8", "--set", "train.batch_size=2"], "is both set and swept over"),
        (["--plot", "x.svg"], "--plot requires --sweep"),
        (["--sweep", "batch=4,8", "--plot", "x.gif"], "expected .svg, .pdf or .png"),
        (["--output", "nowhere/x.csv"], "nowhere does not exist"),
        (["--sweep", "freezing=sideways,all"], "sideways"),
        (["--sweep", "batch=4,5000", "--budget", "0.1"], "is larger than the"),
        (["--sweep", "threads=1,0"], "threads = '0': expected int >= 1"),
        (["--sweep", "precision=fp32,fp16"], "(one of: bf16, fp32, fp64)"),
        (["--sweep", "threads=1,2", "--threads", "2"], "threads is both set and swept over"),
        (["--compare", "threads=1", "threads=2"], "write --sweep threads=A,B"),
        (["--compare", "gpt2-sms-spam", "gpt2-sms-spam"], "is not among the compared"),
        (["--budget", "nan"], "not a finite number"),
        (["--budget", "inf"], "not a finite number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bench_with_invalid_options_is_refused_before_measuring(
    in_process: Command, spec_file: Path, arguments: list[str], message: str
) -> None:
    done = in_process("bench", spec_file, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bench_without_a_name_uses_gpt2_sms_spam(in_process: Command) -> None:
    done = in_process("bench", "--phase", "foward")
    assert done.returncode == 2
    assert "unknown phase 'foward'" in done.stderr, "and no argument is missing"
    helped = in_process("bench", "--help", env={"COLUMNS": "120"})
    assert "[OPTIONS] [EXPERIMENT|FILE.toml]" in helped.stdout
    assert "gpt2-sms-spam]" in helped.stdout, "which the usage shows"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX means")
@pytest.mark.parametrize(
    ("number", "code", "asked", "kept"),
    [
        (signal.SIGINT, 130, (), lambda report: report["points"][0]["measurements"]),
        (signal.SIGTERM, 143, ("--compare", "tokens=8", "tokens=9"), lambda r: r["phases"]),
    ],
    ids=["bench-Ctrl-C", "compare-SIGTERM"],
)
def test_bench_interrupted_keeps_its_measurements(
    environment: dict[str, str],
    spec_file: Path,
    number: signal.Signals,
    code: int,
    asked: tuple[str, ...],
    kept: Callable[[Any], list[dict[str, Any]]],
) -> None:
    phases = ("--phase", "tokenize", "--phase", "forward")
    rules = ("--budget", "2", "--precise", "1e-9", "--load-limit", "100", "--threads", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "clsbench", "bench", spec_file, *phases, *asked, *rules, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("forward (2 of 2"):
            break
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == code, stderr
    report = json.loads(stdout)
    assert report["status"] == "interrupted"
    assert [phase["phase"] for phase in kept(report)] == ["tokenize"]
    assert "showing the results so far" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_bench_compare_interleaves_two_variants(in_process: Command, spec_file: Path) -> None:
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "forward",
        "--compare", "tokens=8", "tokens=128", "--json",
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr  # a control may differ by chance
    report = json.loads(done.stdout)
    assert (report["a"], report["b"]) == ("tokens=8", "tokens=128")
    forward = report["phases"][0]
    assert forward["verdict"] in ("slower", "not measured", "no difference shown", "faster")
    ratio = forward["b_over_a"]
    assert 0 < ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert forward["control"]["pairs"] >= 5
    assert (forward["a_call"]["padded_tokens"], forward["b_call"]["padded_tokens"]) == (64, 1024)
    contenders = [turn["contender"] for turn in forward["race"]["samples"][:6]]
    assert contenders == ["A", "B", "A again", "A again", "B", "A"]


@pytest.mark.slow
def test_bench_compare_with_different_workloads_reports_it(
    in_process: Command, spec_file: Path
) -> None:
    done = in_process(
        "bench", spec_file, *QUICK, "--phase", "prefix", "--phase", "tokenize",
        "--compare", "freezing=all", "freezing=last-blocks", env={"COLUMNS": "140"},
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr  # a control that differs by chance
    assert "differences below 5% are not claimed" in done.stdout
    (line,) = (
        line for line in done.stdout.splitlines() if line.lstrip("│ ").startswith("tokenize ")
    )
    assert re.search(r"(µs|ms) .+ × .+–", line)
    assert "times are per call" not in done.stdout, "both variants have the same phase"
    assert (
        "prefix: not compared: freezing=all: the first stage (embeddings) is trained" in done.stdout
    )
    narrow = in_process(
        "bench", spec_file, *QUICK, "--phase", "tokenize", "--compare", "pooling=mean",
        "pooling=max", env={"COLUMNS": "80"},
    )  # fmt: skip
    message = " ".join(narrow.stdout.split())
    assert "Not shown for lack of space: A / A (control); " in message, message
    refused = in_process("bench", spec_file, "--compare", "pooling=mean", "pooling=media")
    assert refused.returncode == 2
    assert "media" in refused.stderr
    twice = in_process(
        "bench", spec_file, "--pooling", "mean", "--compare", "pooling=mean", "pooling=max"
    )
    assert twice.returncode == 2
    assert "pooling is both set and compared" in twice.stderr
    both = in_process("bench", spec_file, "--compare", "seed=1", "seed=2", "--sweep", "batch=1,2")
    assert both.returncode == 2
    assert "--compare cannot be combined with" in both.stderr
