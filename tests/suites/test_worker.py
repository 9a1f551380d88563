"""Jobs on another machine: the files of the run are returned and stored by the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clsbench import UsageError
from clsbench.executors import (
    Job,
    JobEnd,
    JobProgress,
    JobResult,
    Message,
    portable_job,
    run_job,
    run_job_remote,
    store_result,
)
from clsbench.results.store import read_record, scan
from clsbench.schema.options import RunOptions, plain_options
from clsbench.testing.executors import SPEC

PLUGIN = """
import clsbench
from torch import nn

class Plain(clsbench.Head, frozen=True):
    '''A linear layer.'''

    def build(self, hidden_size, num_classes):
        return nn.Linear(hidden_size, num_classes)

@clsbench.hookimpl
def clsbench_register_heads():
    return {"plain": Plain}
"""


def make_job(store: Path, plugins: tuple[str, ...] = (), **changes: Any) -> Job:
    options = RunOptions(
        out=store, device="cpu", threads=1, offline=True, curves=False, plugins=plugins
    )
    spec = {**SPEC, **changes}
    return Job(key="key", spec=spec, options=plain_options(options), cpus=1, gpus=0)


def test_run_job_remote_with_plugin_file_returns_all_files(tmp_path: Path) -> None:
    plugin = tmp_path / "plain_head.py"
    plugin.write_text(PLUGIN)
    store = tmp_path / "runs"
    job = make_job(store, (str(plugin),), head={"name": "plain"})
    here = run_job(
        make_job(tmp_path / "here", (str(plugin),), head={"name": "plain"}), lambda _: None
    )
    carried = portable_job(job)
    assert carried.plugin_files == {str(plugin): PLUGIN.encode()}
    assert msgspec.json.decode(msgspec.json.encode(carried), type=Job).key == job.key
    plugin.unlink()  # the other machine does not have it
    messages: list[Message] = []
    result = run_job_remote(carried, messages.append)
    assert not store.exists()
    assert "training" in [m.phase for m in messages if isinstance(m, JobProgress)]
    assert result.end.status == "finished", result.end
    end = store_result(job, result)
    assert here.run is not None
    assert end.run is not None
    there, record = read_record(store / end.run), read_record(tmp_path / "here" / here.run)
    # The plugin's path differs; its name and content are the same.
    assert there.run_key == record.run_key
    assert there.plugins == record.plugins
    assert there.metrics == record.metrics
    names = {file.name for file in (tmp_path / "here" / here.run).iterdir()}
    assert {file.name for file in (store / end.run).iterdir()} == names == set(result.files)
    # The name is taken, so the second run gets another.
    again = store_result(job, result)
    assert again.run == f"{end.run}-2"
    assert len(scan(store).runs) == 2


def test_run_job_remote_invalid_job_returns_no_files(tmp_path: Path) -> None:
    job = make_job(tmp_path / "runs", pooling={"name": "no-such-pooling"})
    result = run_job_remote(job, lambda _: None)
    assert result.end.status == "failed"
    assert "no-such-pooling" in str(result.end.error)
    assert result.files == {}
    assert store_result(job, result) == result.end
    assert not (tmp_path / "runs").exists()


def test_store_result_that_cannot_be_stored_fails(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the store should be")
    end = JobEnd(status="finished", run="20251121T101729Z-away-00000000")
    end_stored = store_result(make_job(tmp_path / "runs"), JobResult(end=end, files={}))
    assert end_stored.status == "failed"
    assert end_stored.run is None
    assert "runs" in str(end_stored.error)


def test_portable_job_unreadable_plugin_file_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "secret.py"
    plugin.write_text(PLUGIN)
    plugin.chmod(0)
    try:
        plugin.read_text()
    except PermissionError:
        pass
    else:
        pytest.skip("this user reads every file")
    with pytest.raises(UsageError, match=r"secret\.py cannot be read"):
        portable_job(make_job(tmp_path / "runs", (str(plugin),)))


@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_worker_started_with_sigint_ignored_can_be_interrupted() -> None:
    """Processes in the background of a non-interactive shell ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = subprocess.Popen(
            [sys.executable, "-m", "clsbench.suites.worker"],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        for _ in range(600):  # until it has started
            worker.send_signal(signal.SIGINT)
            try:
                assert worker.wait(0.1) != 0
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            pytest.fail("the worker did not stop")
    finally:
        worker.kill()
        worker.communicate()
