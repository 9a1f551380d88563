"""The executor ``local``: the jobs of a group share a process, all others have their own."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clsbench.builtin.local_executor import Local
from clsbench.executors import Job, JobEnd, Message
from clsbench.schema.options import RunOptions, plain_options
from clsbench.testing.executors import SPEC

PLUGIN = """
import os
from pathlib import Path

import clsbench


@clsbench.hookimpl
def clsbench_run_started(plan, name):
    with open(Path(__file__).with_suffix(".txt"), "a") as file:
        file.write(f"{os.getpid()} {plan.seed}\\n")
    if plan.seed == 13 and not Path(__file__).with_suffix(".died").exists():
        Path(__file__).with_suffix(".died").touch()
        os.kill(os.getpid(), 9)
"""


class Granting:
    """Grants every job and records the ends."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.ends: dict[str, JobEnd] = {}
        self._stop_after = stop_after

    def claim(self, job: Job) -> bool:
        return True

    def report(self, job: Job, message: Message) -> None:
        pass

    def end(self, job: Job, end: JobEnd) -> None:
        self.ends[job.key] = end
        if len(self.ends) == self._stop_after:
            signal.raise_signal(signal.SIGINT)


def make_jobs(tmp_path: Path, *groups: str, first_seed: int = 1) -> tuple[list[Job], Path]:
    plugin = tmp_path / "notes.py"
    plugin.write_text(PLUGIN)
    options = RunOptions(
        out=tmp_path / "runs",
        device="cpu",
        threads=1,
        offline=True,
        curves=False,
        plugins=(str(plugin),),
    )
    jobs = [
        Job(
            key=str(seed),
            spec={**SPEC, "seed": seed},
            options=plain_options(options),
            cpus=1,
            gpus=0,
            group=group,
        )
        for seed, group in enumerate(groups, first_seed)
    ]
    return jobs, plugin.with_suffix(".txt")


def processes(notes: Path) -> dict[str, str]:
    """The process of each run by its seed."""
    return {seed: pid for pid, seed in map(str.split, notes.read_text().splitlines())}


def statuses(scheduler: Granting) -> dict[str, Any]:
    return {key: end.status for key, end in scheduler.ends.items()}


@pytest.mark.slow
def test_local_concurrent_processes_take_different_groups(tmp_path: Path) -> None:
    jobs, notes = make_jobs(tmp_path, "a", "a", "b", "b")
    scheduler = Granting()
    Local().execute(jobs, 2, scheduler)
    assert Counter(statuses(scheduler).values()) == {"finished": 4}
    pids = processes(notes)
    assert pids["1"] == pids["2"] != pids["3"] == pids["4"]


@pytest.mark.slow
def test_local_process_of_a_group_that_dies_is_replaced(tmp_path: Path) -> None:
    """The last job, without a group, has a process of its own."""
    jobs, notes = make_jobs(tmp_path, "a", "a", "a", "", first_seed=12)
    scheduler = Granting()
    Local().execute(jobs, None, scheduler)
    assert statuses(scheduler) == {
        "12": "finished", "13": "failed", "14": "finished", "15": "finished"
    }  # fmt: skip
    assert "signal 9" in str(scheduler.ends["13"].error)
    pids = processes(notes)
    assert pids["12"] == pids["13"]
    assert len({pids["13"], pids["14"], pids["15"]}) == 3


@pytest.mark.slow
def test_local_interrupted_between_jobs_of_a_group_ends_their_process(tmp_path: Path) -> None:
    jobs, _ = make_jobs(tmp_path, "a", "a")
    scheduler = Granting(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        Local().execute(jobs, None, scheduler)
    assert statuses(scheduler) == {"1": "finished"}
