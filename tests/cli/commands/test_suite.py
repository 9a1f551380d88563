"""``clsbench suite`` in real processes, including interruptions."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Command

SUPPORT = Path(__file__).parents[2] / "support"

SUITE = """
base = "{spec}"
description = "Which layers?"
changes = {{"train.epochs" = 1}}

[[rows]]
title = "the head"
changes = {{freezing = "head-only"}}

[[rows]]
title = "all of it"
changes = {{freezing = "all"}}

[[rows]]
label = "again"
changes = {{freezing = "head-only"}}
"""


@pytest.fixture
def suite_file(tmp_path: Path, spec_file: Path) -> Path:
    file = tmp_path / "layers.toml"
    file.write_text(SUITE.format(spec=spec_file), encoding="utf-8")
    return file


def finished(store: Path) -> list[Path]:
    return sorted(store.glob("*/record.json"))


def test_suite_with_invalid_options_is_refused(in_process: Command, tmp_path: Path) -> None:
    for arguments, expected in (
        (["no-such"], "unknown suite 'no-such'"),
        (["gpt2-sms-spam"], "is an experiment, not a suite"),
        (["gpt2-sms-spam-ablation", "--rows", "20"], "has no row '20'"),
        (["gpt2-sms-spam-ablation", "--executor", "loca"], "did you mean 'local'?"),
        (["gpt2-sms-spam-ablation", "--seeds", "123"], "a single number is the number of seeds"),
        (["gpt2-sms-spam-ablation", "--seeds", "1,1"], "names a seed twice"),
        (["gpt2-sms-spam-ablation", "--seeds", "1,-1"], "a seed must be at least 0"),
        (
            ["gpt2-sms-spam", "--sweep", "seed=1,2"],
            "rows cannot differ in the seed; use --seeds 1,2,3",
        ),
        (["gpt2-sms-spam", "--sweep", "freezing"], "is not KEY=A,B,C"),
        (["gpt2-sms-spam", "--sweep", "poling=mean,max"], "'poling'; did you mean 'pooling'?"),
        (
            ["gpt2-sms-spam-ablation", "--rows", "3,5", "--tune", "freezing=all,head-only"],
            "row 3 sets freezing, but freezing is tuned: every row is tuned over the same values",
        ),
        (["gpt2-sms-spam-ablation", "--trials", "2"], "--trials requires the values to try"),
        (
            ["gpt2-sms-spam-ablation", "--tune", "train.lr=1,2", "--set", "train.lr=1"],
            "the command line sets train.lr, but train.lr is tuned",
        ),
        (["gpt2-sms-spam-ablation", "--tune", "train.lr=1,2"], "requires the number of trials"),
        (["gpt2-sms-spam", "--sweep", "pooling=mean,mex"], "row 2 (pooling=mex): unknown pooling"),
        (["gpt2-sms-spam-ablation", "--sweep", "freezing=all"], "sets freezing itself; sweep an"),
        (
            ["gpt2-sms-spam-ablation", "--rows", "1.3", "--sweep", "train.lr=1e-4,5e-5"],
            "has no row '1.3'",
        ),
    ):
        done = in_process("suite", *arguments)
        assert done.returncode == 2, done.stderr
        assert expected in " ".join(done.stderr.split())
        assert not list((tmp_path / "cwd").iterdir()), "nothing is left behind"


def test_suite_experiment_with_tune_is_a_suite_of_one_row(in_process: Command) -> None:
    tune = ["--tune", "train.lr=1e-4,1e-3", "--trials", "2"]
    done = in_process("suite", "gpt2-sms-spam", *tune, "--offline", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["rows"]
    assert len({each["run_key"] for each in row["runs"]}) == 2


PLUGIN = """
import clsbench
import own_helper


class Own(clsbench.Head):
    '''A head whose helper decides whether it has a bias.'''

    def build(self, hidden_size, num_classes):
        import torch

        return torch.nn.Linear(hidden_size, num_classes, bias=own_helper.BIAS)


@clsbench.hookimpl
def clsbench_register_heads():
    return {"own": Own}
"""


@pytest.mark.slow
def test_suite_with_an_edited_helper_of_a_plugin_runs_its_rows_again(
    clsbench: Command, spec_file: Path, tmp_path: Path
) -> None:
    """With ``--plugin MODULE``; the same content under another name counts as unchanged."""
    suite, data = tmp_path / "own.toml", tmp_path / "renamed.csv"
    suite.write_text(
        f'base = "{spec_file}"\nchanges = {{"train.epochs" = 1, head = "own", baselines = []}}\n'
        '[[rows]]\ntitle = "the head"\nchanges = {freezing = "head-only"}\n'
    )
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    helper = tmp_path / "own_helper.py"
    counts = []
    for content in ("BIAS = True\n", "BIAS = False\n", "BIAS = True\n"):
        helper.write_text(content)
        done = clsbench(
            "--plugin", "own_plugin", "--plugin", "in_process_executor", "suite", suite,
            "--executor", "in-process", "--out", tmp_path / "runs",
            *(("--set", f"dataset.path={data}") if data.exists() else ()),
            env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SUPPORT)])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts.append(len(finished(tmp_path / "runs")))
        data.write_bytes(spec_file.with_name("fruit.csv").read_bytes())
    assert counts == [1, 2, 2]


@pytest.mark.slow
def test_suite_from_a_file_runs_its_rows(
    in_process: Command, in_process_suite: Command, suite_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    planned = in_process("suite", suite_file, "--out", store, "--dry-run", "--json")
    rows = json.loads(planned.stdout)["rows"]
    assert [row["label"] for row in rows] == ["1", "2", "again"]
    assert rows[0]["runs"] == rows[2]["runs"]
    assert not store.exists()

    done = in_process_suite(suite_file, "--out", store, env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert "Not shown for lack of space: " in done.stdout
    assert "layers: Which layers?" in done.stdout
    assert "= row 1" in done.stdout
    assert "baseline tfidf-logreg" in done.stdout
    assert "row 2 finished in" in done.stderr
    assert done.stdout.splitlines()[-1].endswith(f" report layers --out {store}")
    assert re.search("\nUse .*\nNext:\n  clsbench .* predict ", done.stdout, re.DOTALL)
    assert len(finished(store)) == 2

    wide = in_process("suite", suite_file, "--out", store, env={"COLUMNS": "180"})
    assert wide.returncode == 0
    assert "calibration" in wide.stdout
    assert "Not shown" not in wide.stdout

    again = in_process("suite", suite_file, "--out", store, "--json")
    assert again.returncode == 0
    results = json.loads(again.stdout)
    assert [len(row["stored"]) for row in results["rows"]] == [1, 1, 1]
    assert [row["row"] for row in results["table"]] == ["1", "2", "again", "", "", ""]
    assert results["table"][0]["test_accuracy_low"] < results["table"][0]["test_accuracy"]
    assert results["comparison"]["pairs"]
    assert len(finished(store)) == 2
    compared = in_process("compare", *results["rows"][0]["runs"], *results["rows"][1]["runs"],
                          "--out", store)  # fmt: skip
    assert compared.returncode == 0, compared.stderr


@pytest.mark.slow
def test_suite_from_a_file_with_sweep_plans_every_row_with_every_value(
    in_process: Command, suite_file: Path, tmp_path: Path
) -> None:
    done = in_process("suite", suite_file, "--sweep", "data.train_size=8,16", "--rows", "1,2",
                      "--out", tmp_path / "runs", "--dry-run", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    assert planned["suite"].startswith("layers-by-data.train_size-")
    assert [row["label"] for row in planned["rows"]] == ["1.1", "1.2", "2.1", "2.2"]
    assert planned["rows"][3]["changes"]["data.train_size"] == "16"
    assert not any(row["modified"] or row["problem"] for row in planned["rows"])


@pytest.mark.slow
def test_suite_with_sweep_over_train_size_shows_and_plots_learning_curves(
    in_process: Command, in_process_suite: Command, suite_file: Path, tmp_path: Path
) -> None:
    store, plot = tmp_path / "runs", tmp_path / "curves.svg"
    sweep = (suite_file, "--rows", "1-2", "--sweep", "data.train_size=8,24")
    done = in_process_suite(*sweep, "--out", store, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "Crossovers are interpolated on a logarithmic scale" in " ".join(done.stdout.split())
    assert plot.read_text().startswith("<?xml")
    again = in_process_suite(*sweep, "--out", store, "--json")
    curves = json.loads(again.stdout)["learning_curves"]
    lines = {line["name"]: line for line in curves["lines"]}
    assert [point["train_texts"] for point in lines["the head"]["points"]] == [8, 24]
    assert lines["TF-IDF + logistic regression"]["baseline"]
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    shown = in_process("report", "--out", store, "-o", page, "--plot", tmp_path / "curves.png")
    assert shown.returncode == 0, shown.stderr
    assert '<section id="learning"' in page.read_text(encoding="utf-8")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert in_process("report", "--out", store, "-o", table).returncode == 0
    header, *rows = csv.reader(table.read_text(encoding="utf-8").splitlines())
    texts = [row[header.index("train_texts")] for row in rows]
    assert sorted(texts) == ["24"] * (2 + 3) + ["8"] * (2 + 3)


@pytest.mark.parametrize("further", [["--jobs", "2"], ["--dry-run"]])
def test_suite_with_a_row_that_the_data_do_not_allow_runs_no_row(
    further: list[str], in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    sweep = ("suite", spec_file, "--sweep", "data.train_size=16,100000", "--out", tmp_path / "runs")
    done = in_process(*sweep, *further)
    assert done.returncode == 2, done.stderr
    assert "error: row 2: " in done.stderr
    assert "fruit.csv: data.train_size = 100,000 is larger than" in done.stderr
    assert not done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_suite_with_sweep_over_data_sets_shows_and_plots_ranks(
    in_process: Command, in_process_suite: Command, spec_file: Path, tmp_path: Path
) -> None:
    store, plot = tmp_path / "runs", tmp_path / "ranks.svg"
    for name, last in (("a", "pear"), ("b", "plum")):
        lines = [f"{word} number {n},{word}" for n in range(20) for word in ("apple", last)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    values = [f'"csv:path={tmp_path / name}.csv,text=text"' for name in ("a", "b", "missing")]
    sweep = (spec_file, "--sweep", f"dataset={','.join(values)}", "--out", store)
    done = in_process_suite(*sweep, "--set", "train.epochs=1", "--plot", plot)
    assert done.returncode == 1, done.stderr
    assert "row 3 (dataset=csv:path=" in done.stderr
    early, _, _ = done.stderr.partition("row 1 begins")
    assert "warning: row 3 cannot be run: dataset 'csv': no such file" in early
    shown = " ".join(done.stdout.split())
    assert "Over 2 data sets, " in shown
    assert "Not ranked: data set missing.csv: dataset 'csv': no such file" in shown
    assert plot.read_text().startswith("<?xml")
    results = json.loads(in_process("report", "--out", store, "--json").stdout)
    assert [each["name"] for each in results["ranks"]["datasets"]] == ["a.csv", "b.csv"]
    assert len(results["ranks"]["methods"]) == 4
    assert results["comparison"] is None
    page = tmp_path / "page.html"
    reported = in_process("report", "--out", store, "-o", page)
    assert reported.returncode == 0, reported.stderr
    assert '<section id="ranks"' in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_suite_tuned_on_label_sets_in_two_processes_chooses_by_micro_f1(
    clsbench: Command, spec_file: Path, tmp_path: Path
) -> None:
    fruit = ("", "apple", "pear", "apple|pear")
    lines = [f"{fruit[n % 4].replace('|', ' and ')} number {n},{fruit[n % 4]}" for n in range(80)]
    (tmp_path / "fruit.csv").write_text("\n".join(["text,fruit", *lines]))
    done = clsbench(
        "suite", spec_file, "--dataset", f"csv:path={tmp_path / 'fruit.csv'},labels=fruit",
        "--tune", "train.lr=1e-5,1e-2", "--tuner", "grid", "--jobs", "2", "--json",
        "--set", "baselines=[]", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["tuning"]["metric"] == "micro-f1"
    first, second = row["tuning"]["trials"]
    assert row["runs"] == [second["run"]]
    assert second["score"] > first["score"]
    for trial in (first, second):
        record = json.loads((tmp_path / "runs" / trial["run"] / "record.json").read_text())
        assert record["metrics"]["validation"]["scores"]["micro-f1"] == trial["score"]
        assert set(record["thresholds"]) == {"apple", "pear"}


@pytest.mark.slow
def test_suite_with_a_failing_row_runs_the_others(
    in_process_suite: Command, spec_file: Path, tmp_path: Path
) -> None:
    done = in_process_suite(
        spec_file, "--sweep", "train.lr=1e30,1e-3", "--set", "train.epochs=1",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: row 1 (train.lr=1e30): " in done.stderr
    assert "row 2 finished" in done.stderr


@pytest.mark.slow
def test_suite_after_interruptions_resumes(
    environment: dict[str, str], in_process_suite: Command, suite_file: Path, tmp_path: Path
) -> None:
    """Interrupted in row 2 three times, each time in another way; row 1 runs only once."""
    store = tmp_path / "runs"
    arguments = [str(suite_file), "--out", str(store), "--set", "train.epochs=20"]
    arguments += ["--set", "baselines=[]"]
    command = [sys.executable, "-m", "clsbench", "suite", *arguments]
    resumed = "row 1, again has already finished"
    for end, expected in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        before = ""
        for line in process.stderr:
            before += line
            if "row 2 begins" in line:
                break
        assert (resumed in before) == (end != signal.SIGKILL), "the first of them"
        workers = _children(process.pid)
        assert workers
        _has_loaded_libraries(workers[0])
        process.send_signal(end)
        rest = process.stderr.read()
        assert process.wait(60) == expected, rest
        assert not [pid for pid in workers if _runs(pid)], "no worker outlives the suite"
        if end != signal.SIGKILL:
            assert "run the same command again to resume" in rest
    again = in_process_suite(*arguments)
    assert again.returncode == 0, again.stderr
    assert resumed in again.stderr
    assert "row 2 finished" in again.stderr


@pytest.mark.slow
def test_suite_in_two_processes_runs_each_row_once(
    environment: dict[str, str], spec_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    command = [
        sys.executable, "-m", "clsbench", "--plugin", "in_process_executor", "suite",
        str(spec_file), "--executor", "in-process", "--out", str(store),
        "--sweep", "train.lr=1e-3,1e-4", "--set", "train.epochs=1", "--set", "baselines=[]",
    ]  # fmt: skip
    variables = {**environment, "PYTHONPATH": str(SUPPORT)}
    files = [tmp_path / "one.txt", tmp_path / "other.txt"]
    both = []
    for file in files:
        with file.open("w") as stderr:
            both.append(subprocess.Popen(command, env=variables, stderr=stderr))
    for process in both:
        process.wait(300)
    expected = [file.read_text() for file in files]
    assert [process.returncode for process in both] == [0, 0], expected
    assert len(finished(store)) == 2
    for number in (1, 2):
        assert sum(text.count(f"row {number} begins") for text in expected) == 1, expected


def _has_loaded_libraries(pid: int) -> None:
    """Wait until the process starts training."""
    while "libtorch" not in Path(f"/proc/{pid}/maps").read_text():
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(text) for text in done.stdout.split()]


def _runs(pid: int) -> bool:
    """Whether the process still runs after a moment."""
    for _ in range(1200):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True
