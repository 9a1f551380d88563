"""``clsbench run`` end to end, on a CSV file of eighty texts and the embedded backbone."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

FIXED_NAMES = {
    "spec",
    "status",
    "stand_ins",
    "environment",
    "data",
    "parameters",
    "history",
    "metrics",
    "baselines",
    "phases_seconds",
    "throughput",
    "path",
}


def refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python accepts but JSON does not have."""
    raise AssertionError(f"{name} is not JSON")


def test_run_json_is_the_record_and_its_path(finished: dict[str, Any]) -> None:
    assert finished.keys() >= FIXED_NAMES
    assert finished["status"] == "finished"
    assert finished["experiment"] == "fruit"
    path = Path(finished["path"])
    assert path.parent == finished["store"]
    stored = json.loads((path / "record.json").read_text())
    assert {k: v for k, v in finished.items() if k not in ("path", "stderr", "store")} == stored
    assert (path / "loss.svg").exists(), "--curves overrides CLSBENCH_CURVES"


def test_run_progress_goes_to_stderr_in_plain_lines(finished: dict[str, Any]) -> None:
    lines = finished["stderr"].splitlines()
    assert "training …" in lines
    assert any(re.match(r"epoch 1/2 step 0/\d+: loss train \d", line) for line in lines)
    assert any(line.startswith("epoch 2/2 done: accuracy over a few batches") for line in lines)
    assert "\x1b" not in finished["stderr"]


def test_run_json_excludes_output_of_plugins(finished: dict[str, Any]) -> None:
    for noise in ("while the plugin is imported", "while it registers", "of an observer"):
        assert f"noise {noise}" in finished["stderr"]


def test_run_prints_a_table_to_stdout(in_process: Command, spec_file: Path) -> None:
    only = ("--set", 'baselines=["tfidf-logreg"]')  # of equally good ones, the faster is named
    done = in_process("run", spec_file, "--set", "train.epochs=1", *only, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for text in ("fruit", "test", "tfidf-logreg", "runs/", "record.json"):
        assert text in done.stdout
    *_, answer, next_, predict, report = done.stdout.splitlines()
    assert answer.startswith("Use TF-IDF + logistic regression: 100.00 % in ")
    assert next_ == "Next:"
    predict_words, report_words = shlex.split(predict), shlex.split(report)
    assert predict_words[1] == "predict"
    assert predict_words[3:] == ["--baseline", "tfidf-logreg", "a text"]
    assert report_words[1:] == ["report", predict_words[2]]
    for words in (predict_words, report_words):
        assert in_process(*words[1:]).returncode == 0


@pytest.mark.slow
def test_run_with_several_seeds_summarizes_them(in_process: Command, spec_file: Path) -> None:
    done = in_process("run", spec_file, "--seeds", "1,2", "--set", "train.epochs=1", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout, parse_constant=refuse_constant)
    assert answer.keys() == {"runs", "summary"}
    assert [run["spec"]["seed"] for run in answer["runs"]] == [1, 2]
    accuracies = [run["metrics"]["test"]["accuracy"] for run in answer["runs"]]
    assert answer["summary"]["seeds"] == [1, 2]
    mean = answer["summary"]["splits"]["test"]["accuracy"]["mean"]
    assert mean == pytest.approx(sum(accuracies) / 2)
    assert len({run["data"]["sha256"] for run in answer["runs"]}) == 1


INTERRUPTING = """
import clsbench

begun = []

@clsbench.hookimpl
def clsbench_phase_started(phase):
    begun.append(phase)
    if begun.count("model") == 2:
        raise KeyboardInterrupt
"""
"""A plugin that raises KeyboardInterrupt while the second run of a command builds its model."""


@pytest.mark.slow
def test_run_interrupted_between_seeds_keeps_and_prints_the_first(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "interrupting.py"
    plugin.write_text(INTERRUPTING)
    changes = ["--seeds", "1,2", "--set", "train.epochs=1", "--json"]
    done = in_process("--plugin", plugin, "run", spec_file, *changes)
    assert done.returncode == 130, done.stderr
    answer = json.loads(done.stdout, parse_constant=refuse_constant)
    (run,) = answer["runs"]
    assert run["status"] == "finished"
    assert answer["summary"]["seeds"] == [1]
    assert done.stderr.endswith("error: interrupted\n")


def test_dry_run_trains_and_stores_nothing(
    in_process: Command, spec_file: Path, finished: dict[str, Any], tmp_path: Path
) -> None:
    done = in_process("run", spec_file, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout, parse_constant=refuse_constant)
    ours = finished.keys() - {"stderr", "store"}
    assert planned.keys() == ours - {"history", "metrics"}
    assert planned["status"] == "planned"
    assert planned["path"] is None
    assert planned["spec"] == finished["spec"]
    assert planned["parameters"] == finished["parameters"]
    assert planned["data"] == finished["data"]
    assert not (tmp_path / "cwd" / "runs").exists()


def test_dry_run_shows_stages_and_the_spec(in_process: Command, spec_file: Path) -> None:
    done = in_process("run", spec_file, "--dry-run", "--freezing", "last-blocks")
    assert done.returncode == 0, done.stderr
    for text in ("block.3", "frozen", "final_norm"):
        assert text in done.stdout
    spec = tomllib.loads(done.stdout.partition("\nSpec\n")[2])
    assert spec["freezing"] == {"name": "last-blocks", "n": 1}
    assert spec["backbone"]["name"] == "gpt2-nano"


def test_run_stores_in_the_folder_of_the_environment(
    clsbench: Command, spec_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a-file"
    file.write_text("")
    done = clsbench("run", spec_file, env={"CLSBENCH_RUNS": str(file / "runs")})
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"runs cannot be stored in {file / 'runs'}" in done.stderr


def test_run_on_a_missing_device_exits_with_2(
    in_process: Command, spec_file: Path, tmp_path: Path
) -> None:
    done = in_process("run", spec_file, "--device", "cuda:7", env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: device cuda:7: torch ")
    assert line.endswith(", or use --device cpu")
    assert not (tmp_path / "cwd" / "runs").exists()


@pytest.mark.slow
def test_run_with_a_non_finite_loss_fails(in_process: Command, spec_file: Path) -> None:
    done = in_process("run", spec_file, "--set", "train.lr=1e38", "--json")
    assert done.returncode == 1
    record = json.loads(done.stdout, parse_constant=refuse_constant)
    assert record["status"] == "failed"
    assert "at step" in record["error"]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert done.stderr.rstrip().endswith(f"are kept in {record['path']}")


IN_THE_WAY = """
import os
from pathlib import Path
import clsbench

@clsbench.hookimpl
def clsbench_phase_started(phase):
    if phase == "baselines":
        Path(os.environ["IN_THE_WAY"]).write_text("")
"""
"""A plugin that creates a file at the path of the store of runs."""


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_run_that_cannot_be_stored_prints_its_record(
    in_process: Command, spec_file: Path, tmp_path: Path, as_json: bool
) -> None:
    plugin, store = tmp_path / "in_the_way.py", tmp_path / "store"
    plugin.write_text(IN_THE_WAY)
    done = in_process(
        *("--plugin", plugin, "run", spec_file, "--set", "train.epochs=1", "--out", store),
        *(["--json"] if as_json else []),
        env={"IN_THE_WAY": str(store)},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: the run could not be stored in {store}")
    if as_json:
        record = json.loads(done.stdout, parse_constant=refuse_constant)
        assert record["status"] == "finished"
        assert record["path"] is None
        assert record["metrics"]["test"]["accuracy"] > 0
    else:
        assert "tfidf-logreg" in done.stdout
        assert "record.json" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="file sizes are limited by POSIX means")
def test_run_on_a_full_disk_prints_its_record(
    environment: dict[str, str], spec_file: Path, tmp_path: Path
) -> None:
    """A file size limit below the size of the classifier simulates a full disk."""
    command = [sys.executable, "-m", "clsbench", "--quiet", "run", spec_file, "--json"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 200 && exec "$@"', "bash", *command, "--out", tmp_path / "runs"],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    record = json.loads(done.stdout, parse_constant=refuse_constant)
    assert record["status"] == "finished"
    assert record["path"] is None
    assert done.stderr.startswith("error: the disk is full: the run could not be stored in ")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--threads", "two"], 2, "'two' is not a valid integer"),
        (["--freezing", "last-block"], 2, "did you mean 'last-blocks'?"),
        (["--threads", "99999"], 2, "threads = 99999"),
        (["--assets", "{wrong}", "--offline"], 3, "expected 477,907"),
    ],
)
def test_run_json_of_a_refused_run_is_one_object(
    in_process: Command, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    wrong = tmp_path / "assets" / "sms-spam" / "SMSSpamCollection"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("ham\tnot the corpus\n")
    arguments = [argument.format(wrong=tmp_path / "assets") for argument in arguments]
    done = in_process("--quiet", "run", "gpt2-sms-spam", "--json", *arguments)
    assert done.returncode == code
    answer = json.loads(done.stdout, parse_constant=refuse_constant)
    assert answer.keys() == {"status", "error", "exit_code", "path"}
    assert (answer["status"], answer["exit_code"], answer["path"]) == ("failed", code, None)
    assert said in answer["error"]
    assert f"error: {answer['error']}\n" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX means")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted by the user"),
        (signal.SIGHUP, 143, "terminated by SIGHUP"),
    ],
)
def test_run_ended_by_a_signal_is_stored(
    environment: dict[str, str],
    spec_file: Path,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    said: str,
) -> None:
    changes = ["--set", "train.epochs=10000", "--out", tmp_path / "runs", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clsbench", "run", spec_file, *changes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        # Under nohup, child processes would ignore SIGHUP.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == code, stderr
    record = json.loads(stdout)
    assert record["status"] == "interrupted"
    assert record["error"] == said
    assert record["history"]["steps"]
    assert (Path(record["path"]) / "record.json").is_file()
    assert f"{said}; partial results are kept in {record['path']}" in stderr


TERMINATING = """
import os
import signal
import clsbench

@clsbench.hookimpl
def clsbench_phase_started(phase):
    if phase == "data":
        os.kill(os.getpid(), signal.SIGTERM)
"""
"""A plugin that sends SIGTERM before training, as a cluster does."""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX means")
def test_run_terminated_before_training_exits_with_the_signal(
    clsbench: Command, spec_file: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "terminating.py"
    plugin.write_text(TERMINATING)
    done = clsbench("--plugin", plugin, "run", spec_file, "--json")
    assert done.returncode == 143
    assert json.loads(done.stdout) == {
        "status": "interrupted",
        "error": "terminated by SIGTERM",
        "exit_code": 143,
        "path": None,
    }
    assert done.stderr.endswith("error: terminated\n")
    assert not (tmp_path / "cwd" / "runs").exists()
