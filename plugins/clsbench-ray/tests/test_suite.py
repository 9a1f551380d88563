"""``clsbench suite --executor ray`` in a process: on a cluster of its own and on a running one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray_cluster
from ray_cluster import TwoNodes, survivors

from clsbench.results.store import read_record, scan

SUITE = """
base = "{spec}"
description = "Which layers?"

[[rows]]
title = "the head"
changes = {{freezing = "head-only"}}

[[rows]]
title = "all of it"
changes = {{freezing = "all"}}
"""


SPEC = """
dataset = {{name = "csv", path = "{path}"}}
backbone = "gpt2-nano"
freezing = "all"
baselines = ["majority"]

[train]
lr = 1e-3
epochs = 2
eval_every = 4
eval_batches = 2
"""


OBSERVER = """
from pathlib import Path

import clsbench

@clsbench.hookimpl
def clsbench_step_finished(report):
    if report.step == 1:
        Path({path!r}).touch()
"""


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without settings of the user for clsbench, except the tests' cache."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLSBENCH_", "_CLSBENCH_"))}
    return {**kept, "CLSBENCH_CACHE": os.environ["CLSBENCH_CACHE"]}


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    lines = [f"{word} number {n},{word}" for n in range(40) for word in ("apple", "pear")]
    data, spec, file = (tmp_path / name for name in ("fruit.csv", "fruit.toml", "layers.toml"))
    data.write_text("text,label\n" + "\n".join(lines) + "\n")
    spec.write_text(SPEC.format(path=data))
    file.write_text(SUITE.format(spec=spec), encoding="utf-8")
    return file


def test_suite_on_ray_without_address_starts_and_stops_a_cluster_without_output(
    environment: dict[str, str], suite_file: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fresh = ray_cluster.without_authentication_settings(environment, home)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "clsbench", "suite", suite_file, "--json", "--rows", "1"),
            *("--out", tmp_path / "runs", "--executor", "ray", "--threads", "1", "--no-curves"),
        ],
        capture_output=True,
        encoding="utf-8",
        env=fresh,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    assert "ray" not in done.stderr.lower()
    ((run,),) = (row["runs"] for row in json.loads(done.stdout)["rows"])
    assert read_record(tmp_path / "runs" / run).status == "finished"
    assert not [p for p in psutil.process_iter() if str(home) in (environ(p).get("HOME", ""))]


def environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.parametrize(
    ("end", "joined"),
    [(signal.SIGINT, False), (signal.SIGKILL, True)],
    ids=["ctrl-c", "kill -9, in a running cluster"],
)
def test_suite_on_ray_ended_by_signal_leaves_no_process(
    end: signal.Signals,
    joined: bool,
    environment: dict[str, str],
    suite_file: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    store = tmp_path / "runs"
    executor = "ray"
    cluster: TwoNodes | None = None
    if joined:
        cluster = request.getfixturevalue("cluster")
        executor += f":address={cluster.address}"
    observer, training = tmp_path / "observer.py", tmp_path / "training"
    observer.write_text(OBSERVER.format(path=str(training)))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "clsbench", "--plugin", observer),
            *("suite", suite_file, "--out", store, "--executor", executor),
            *("--jobs", "1", "--threads", "1", "--rows", "2", "--set", "train.epochs=400"),
        ],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers = wait_for_work(process, cluster, training)
    if end == signal.SIGINT:
        os.killpg(process.pid, end)  # like a terminal
    else:
        process.kill()
    out, err = process.communicate()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[end], err
    assert not survivors(workers)
    if end == signal.SIGKILL:
        assert scan(store).runs == ()
        return
    assert "run the same command again to resume" in err
    assert "ray" not in err.lower().replace("--executor ray", "")
    assert "all of it" in out
    (stored,) = scan(store).runs
    assert stored.record.status == "interrupted"
    assert stored.record.history.steps


def wait_for_work(
    process: subprocess.Popen[str], cluster: TwoNodes | None, training: Path
) -> list[psutil.Process]:
    """The processes of the suite, once the observer of one of them has made the file."""
    while not training.exists():  # until the test's time limit
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    if cluster is not None:
        return [*cluster.head.workers("clsbench "), *cluster.second.workers("clsbench ")]
    return psutil.Process(process.pid).children(recursive=True)
