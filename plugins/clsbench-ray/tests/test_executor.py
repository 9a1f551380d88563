"""The executor on a real cluster of two nodes on this machine, one of which may die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray_cluster
from clsbench_ray import Ray
from ray_cluster import TwoNodes

from clsbench import UsageError
from clsbench.builtin.local_executor import Local
from clsbench.components.catalog import load_catalog
from clsbench.components.chosen import make_component
from clsbench.executors import Job, JobEnd, JobNote, JobProgress, Message, Scheduler
from clsbench.results.store import read_record, scan
from clsbench.schema.options import RunOptions, plain_options
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.plan import SuitePlan, plan_suite
from clsbench.suites.run import run_suite
from clsbench.suites.run_locks import RunState
from clsbench.testing import check_executor

SPEC: dict[str, Any] = {
    "dataset": {"name": "synthetic-sms", "texts": 300},
    "backbone": {"name": "gpt2-nano", "weights": "random"},
    "freezing": {"name": "all"},
    "baselines": [],
    "data": {"padding": 16, "balance": False},
    "train": {"epochs": 1, "eval_batches": 1},
}
SUITE = SuiteSpec(
    name="two",
    base="gpt2-sms-spam",
    changes={
        "dataset": "synthetic-sms:texts=300",
        "backbone": "gpt2-nano:weights=random",
        "data.padding": 16,
        "data.balance": False,
        "baselines": ["majority"],
        "train.epochs": 4,
        "train.eval_batches": 1,
    },
    rows=(
        SuiteRow(label="1", title="all", changes={"freezing": "all"}),
        SuiteRow(label="2", title="two blocks", changes={"freezing": "last-blocks:n=2"}),
    ),
)
"""Long enough to kill a node during a run."""

PLUGIN = """
import os
import clsbench

class Deadly(clsbench.Head, frozen=True):
    '''Logs the call, and ends its process or fails the run.'''

    log: str
    kills: bool = True

    def build(self, hidden_size, num_classes):
        with open(self.log, "a") as file:
            file.write("built\\n")
        if self.kills:
            os._exit(1)
        raise RuntimeError("no head today")

@clsbench.hookimpl
def clsbench_register_heads():
    return {"deadly": Deadly}
"""


class RecordingScheduler(Scheduler):
    """Grants every job, and keeps the messages."""

    def __init__(self) -> None:
        self.ends: dict[str, JobEnd] = {}
        self.notes: list[str] = []
        self.phases: list[str] = []

    def claim(self, job: Job) -> bool:
        return True

    def report(self, job: Job, message: Message) -> None:
        if isinstance(message, JobNote):
            self.notes.append(message.text)
        else:
            self.phases.append(message.phase)

    def end(self, job: Job, end: JobEnd) -> None:
        assert job.key not in self.ends
        self.ends[job.key] = end


def make_job(store: Path, key: str = "job", threads: int = 1, **changes: Any) -> Job:
    plugins = changes.pop("plugins", ())
    options = RunOptions(out=store, device="cpu", threads=threads, offline=True, plugins=plugins)
    spec = {"name": "on-ray", **SPEC, **changes}
    return Job(key=key, spec=spec, options=plain_options(options), cpus=1, gpus=0)


# --- without a cluster ----------------------------------------------------------------------------


def test_ray_not_installed_error_names_the_package(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["ray"] = None  # as if it were not installed
from clsbench.cli.main import main
sys.argv = ["clsbench", "suite", "gpt2-sms-spam-ablation", "--executor", "ray", "--offline"]
try:
    main()
finally:
    assert "torch" not in sys.modules, "the check comes before planning"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'ray>=2.52,<3'" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_ray_address_accepts_auto_or_host_and_port() -> None:
    catalog = load_catalog()
    made = make_component("ray:address=10.0.0.7:6379,retries=0", "executors", catalog)
    assert made == Ray(address="10.0.0.7:6379", retries=0)
    assert make_component("ray", "executors", catalog) == Ray()
    assert make_component("ray:address=auto", "executors", catalog) == Ray(address="auto")
    for wrong in ("ray://10.0.0.7:10001", "10.0.0.7", "http://here:80", "a b:1"):
        with pytest.raises(UsageError, match="address"):
            make_component({"name": "ray", "address": wrong}, "executors", catalog)


def test_ray_unreachable_cluster_raises_at_once(tmp_path: Path) -> None:
    scheduler = RecordingScheduler()
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "):
        Ray(address="127.0.0.1:1").execute([make_job(tmp_path)], None, scheduler)
    assert scheduler.ends["job"].status == "interrupted"


# --- on two nodes ---------------------------------------------------------------------------------


def test_ray_passes_the_conformance_kit(cluster: TwoNodes) -> None:
    check_executor(Ray(address=cluster.address))


class KillsSecond:
    """An observer that kills the second node once a run on it is in training."""

    def __init__(self, cluster: TwoNodes) -> None:
        self.statuses: list[str] = []
        self.notes: list[str] = []
        self.killed: list[str] = []
        self.steps_after: list[int] = []
        self._cluster = cluster

    def planned(self, plan: SuitePlan) -> None:
        """Nothing happens yet."""

    def changed(self, key: str, state: RunState) -> None:
        self.statuses.append(state.status)

    def received(self, key: str, message: Message) -> None:
        if isinstance(message, JobNote):
            self.notes.append(message.text)
        elif message.phase == "training" and message.done and not self.killed:
            if self._cluster.second.workers(f"clsbench {key}"):
                self._cluster.second.kill()
                self.killed.append(key)
        elif isinstance(message, JobProgress) and key in self.killed:
            self.steps_after.append(message.done)


def losses(history: Any) -> Any:
    tree = msgspec.to_builtins(history)
    for entry in (*tree["steps"], *tree["epochs"]):
        del entry["seconds"]
    return tree


def test_ray_node_dies_run_is_repeated_on_the_other_node(cluster: TwoNodes, tmp_path: Path) -> None:
    """The results equal those of ``local`` bit by bit."""
    catalog = load_catalog()
    options = RunOptions(out=tmp_path / "ray", device="cpu", threads=1, offline=True)
    plan = plan_suite(SUITE, SUITE.rows, {}, 1, options, catalog)
    observer = KillsSecond(cluster)
    results = run_suite(plan, Ray(address=cluster.address), options, None, observer)
    assert observer.killed
    assert observer.statuses == ["running", "running", "finished", "finished"], "two side by side"
    assert len(observer.notes) == 1
    assert "it runs again (retry 1 of 3)" in observer.notes[0]
    assert 0 in observer.steps_after, "the other node reports progress too"
    assert not any(row.errors or row.waiting for row in results.rows)

    here = msgspec.structs.replace(options, out=tmp_path / "local")
    expected = run_suite(plan, Local(), here, 1, KillsSecond(cluster))
    for row, other in zip(results.rows, expected.rows, strict=True):
        (there,), (run,) = row.runs, other.runs
        path, local_path = options.out / there, here.out / run
        one, two = read_record(path), read_record(local_path)
        assert one.run_key == two.run_key
        assert one.metrics == two.metrics
        assert losses(one.history) == losses(two.history)
        assert [b.metrics for b in one.baselines] == [b.metrics for b in two.baselines]
        assert one.environment.threads == two.environment.threads
        names = sorted(file.name for file in local_path.iterdir())
        assert sorted(file.name for file in path.iterdir()) == names
        for name in ("predictions.csv", "baselines.csv", "classifier.safetensors"):
            assert (path / name).read_bytes() == (local_path / name).read_bytes(), name
    assert len(scan(options.out).runs) == 2
    cluster.replace_second()


def test_ray_job_is_retried_if_its_worker_dies_not_if_it_fails(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    """The plugin is a file that is sent with the job."""
    plugin = tmp_path / "deadly.py"
    plugin.write_text(PLUGIN)
    logs = {key: tmp_path / key for key in ("kills", "fails")}
    jobs = [
        make_job(
            tmp_path / "runs",
            key,
            plugins=(str(plugin),),
            head={"name": "deadly", "log": str(log), "kills": key == "kills"},
        )
        for key, log in logs.items()
    ]
    scheduler = RecordingScheduler()
    Ray(address=cluster.address, retries=1).execute(jobs, 1, scheduler)
    assert scheduler.ends["kills"].status == "failed"
    assert "its worker died" in str(scheduler.ends["kills"].error)
    assert "2 times" in str(scheduler.ends["kills"].error)
    assert logs["kills"].read_text() == "built\n" * 2
    assert [note for note in scheduler.notes if "runs again (retry 1 of 1)" in note]
    assert scheduler.ends["fails"].status == "failed"
    assert "no head today" in str(scheduler.ends["fails"].error)
    assert logs["fails"].read_text() == "built\n"
    assert scan(tmp_path / "runs").runs == ()


def test_ray_job_larger_than_every_node_waits(cluster: TwoNodes, tmp_path: Path) -> None:
    class InterruptingAtOnce(RecordingScheduler):
        def report(self, job: Job, message: Message) -> None:
            super().report(job, message)
            raise KeyboardInterrupt

    job = msgspec.structs.replace(make_job(tmp_path / "runs"), cpus=3)
    scheduler = InterruptingAtOnce()
    with pytest.raises(KeyboardInterrupt):
        Ray(address=cluster.address).execute([job], None, scheduler)
    assert scheduler.notes == [
        "no node of the Ray cluster has 3 CPUs; the largest has 1 CPUs; waiting for a larger node"
    ]
    assert scheduler.ends["job"].status == "interrupted"


def test_ray_interrupted_stores_partial_results(cluster: TwoNodes, tmp_path: Path) -> None:
    class InterruptingInTraining(RecordingScheduler):
        def report(self, job: Job, message: Message) -> None:
            # Before the first evaluation there are no results to store.
            training = isinstance(message, JobProgress) and message.phase == "training"
            if training and message.done > 4:
                raise KeyboardInterrupt

    jobs = [
        make_job(tmp_path / "runs", key, train={"epochs": 200, "eval_every": 4})
        for key in ("a", "b", "c")
    ]
    scheduler = InterruptingInTraining()
    with pytest.raises(KeyboardInterrupt):
        Ray(address=cluster.address).execute(jobs, 2, scheduler)
    assert {key: end.status for key, end in scheduler.ends.items()} == dict.fromkeys(
        ("a", "b"), "interrupted"
    )
    records = [stored.record for stored in scan(tmp_path / "runs").runs]
    assert records
    assert all(record.status == "interrupted" for record in records)
    assert any(record.history.steps for record in records)
    assert not ray_cluster.survivors(
        [*cluster.head.workers("clsbench "), *cluster.second.workers("clsbench ")]
    )


def test_ray_job_with_gpu_reserves_it_in_the_callers_cluster(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    """The GPU is only declared to Ray. The caller's cluster is used, and stays joined.

    Ray sets OMP_NUM_THREADS to the number of CPUs; the threads of the options take precedence.
    """
    import ray

    class GpuWatching(RecordingScheduler):
        free: float | None = None

        def report(self, job: Job, message: Message) -> None:
            super().report(job, message)
            if self.free is None:
                self.free = ray.available_resources().get("GPU", 0)

    job = make_job(tmp_path / "runs", threads=2, freezing={"name": "head-only"})
    job = msgspec.structs.replace(job, gpus=1)
    ray.init(cluster.address, log_to_driver=False)
    try:
        scheduler = GpuWatching()
        Ray().execute([job], None, scheduler)
        end = scheduler.ends["job"]
        assert end.status == "finished"
        assert scheduler.free == 0
        assert end.run is not None
        assert read_record(tmp_path / "runs" / end.run).environment.threads == 2
        assert ray.is_initialized()
        scheduler = GpuWatching()
        with pytest.raises(UsageError, match="no node of the Ray cluster has 1 CPUs and 2 GPU"):
            Ray().execute([msgspec.structs.replace(job, gpus=2)], None, scheduler)
        assert scheduler.ends["job"].status == "interrupted"
    finally:
        ray.shutdown()
