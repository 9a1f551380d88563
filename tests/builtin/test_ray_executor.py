"""The executor ``ray`` on a real cluster: two raylets on this machine, one of which may die."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray_cluster
from ray_cluster import TwoNodes

from clsbench import UsageError
from clsbench.builtin.local_executor import Local
from clsbench.builtin.ray_executor import Ray
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import make_component
from clsbench.executors import Job, JobEnd, JobNote, JobProgress, Message, Scheduler
from clsbench.results.store import read_record, scan
from clsbench.schema.options import RunOptions, plain_options
from clsbench.schema.suite import SuiteRow, SuiteSpec
from clsbench.suites.run import plan_suite, run_suite
from clsbench.suites.run_locks import RunState

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
        "train.epochs": 4,
        "train.eval_batches": 1,
    },
    rows=(
        SuiteRow(label="1", title="all", changes={"freezing": "all"}),
        SuiteRow(label="2", title="two blocks", changes={"freezing": "last-blocks:n=2"}),
    ),
)
"""Long enough for a node to be killed in mid-row."""

PLUGIN = """
import os
import clsbench

class Deadly(clsbench.Head, frozen=True):
    '''Notes that it is asked for, and ends its process, or the run alone.'''

    log: str
    kills: bool = True

    def build(self, hidden_size, num_classes):
        with open(self.log, "a") as file:
            file.write("asked\\n")
        if self.kills:
            os._exit(1)
        raise RuntimeError("no head today")

@clsbench.hookimpl
def clsbench_register_heads():
    return {"deadly": Deadly}
"""


class Noting(Scheduler):
    """Grants all, and keeps what it hears."""

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


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    pytest.importorskip("ray", reason="pip install 'clsbench[ray]'")
    with ray_cluster.two_nodes() as nodes:
        yield nodes


# --- without a cluster ----------------------------------------------------------------------------


def test_without_ray_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["ray"] = None  # as if it were not installed
from clsbench.cli.main import main
sys.argv = ["clsbench", "suite", "gpt2-sms-spam-ablation", "--executor", "ray", "--offline"]
try:
    main()
finally:
    assert "torch" not in sys.modules, "nothing is planned before"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'clsbench[ray]'" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_an_address_is_auto_or_host_and_port() -> None:
    catalog = load_catalog()
    made = make_component("ray:address=10.0.0.7:6379,retries=0", "executors", catalog)
    assert made == Ray(address="10.0.0.7:6379", retries=0)
    assert make_component("ray", "executors", catalog) == Ray()
    assert make_component("ray:address=auto", "executors", catalog) == Ray(address="auto")
    for wrong in ("ray://10.0.0.7:10001", "10.0.0.7", "http://here:80", "a b:1"):
        with pytest.raises(UsageError, match="address"):
            make_component({"name": "ray", "address": wrong}, "executors", catalog)


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pip install 'clsbench[ray]'")
    scheduler = Noting()
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "):
        Ray(address="127.0.0.1:1").execute([make_job(tmp_path)], None, scheduler)
    assert scheduler.ends["job"].status == "interrupted"


# --- on two nodes ---------------------------------------------------------------------------------


class KillsSecond:
    """A watcher that kills the second node once the run that it does is in training."""

    def __init__(self, cluster: TwoNodes) -> None:
        self.statuses: list[str] = []
        self.notes: list[str] = []
        self.killed: list[str] = []
        self.steps_after: list[int] = []
        self._cluster = cluster

    def changed(self, key: str, state: RunState) -> None:
        self.statuses.append(state.status)

    def received(self, key: str, message: Message) -> None:
        if isinstance(message, JobNote):
            self.notes.append(message.text)
        elif message.phase == "training" and message.done and not self.killed:
            if self._cluster.second.does(f"clsbench {key}"):
                self._cluster.second.kill()
                self.killed.append(key)
        elif isinstance(message, JobProgress) and key in self.killed:
            self.steps_after.append(message.done)


def losses(history: Any) -> Any:
    tree = msgspec.to_builtins(history)
    for entry in (*tree["steps"], *tree["epochs"]):
        del entry["seconds"]
    return tree


@pytest.mark.slow
def test_a_run_whose_node_dies_is_done_on_the_other(cluster: TwoNodes, tmp_path: Path) -> None:
    """The suite ends as if nothing had happened, with what ``local`` gives to the last bit."""
    catalog = load_catalog()
    options = RunOptions(out=tmp_path / "ray", device="cpu", threads=1, offline=True)
    plan = plan_suite(SUITE, SUITE.rows, {}, 1, options, catalog)
    watcher = KillsSecond(cluster)
    results = run_suite(plan, Ray(address=cluster.address), options, None, watcher)
    assert watcher.killed
    assert watcher.statuses == ["running", "running", "finished", "finished"], "two side by side"
    assert len(watcher.notes) == 1
    assert "it is begun again (1 of 3)" in watcher.notes[0]
    assert 0 in watcher.steps_after, "progress comes from the other node too"
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


@pytest.mark.slow
def test_what_kills_its_process_is_given_up_and_what_fails_is_not_repeated(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    """The plugin is a file that is shipped: the nodes need not have it."""
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
    scheduler = Noting()
    Ray(address=cluster.address, retries=1).execute(jobs, 1, scheduler)
    assert scheduler.ends["kills"].status == "failed"
    assert "its worker died" in str(scheduler.ends["kills"].error)
    assert "2 times" in str(scheduler.ends["kills"].error)
    assert logs["kills"].read_text() == "asked\n" * 2
    assert [note for note in scheduler.notes if "begun again (1 of 1)" in note]
    assert scheduler.ends["fails"].status == "failed"
    assert "no head today" in str(scheduler.ends["fails"].error)
    assert logs["fails"].read_text() == "asked\n"
    assert scan(tmp_path / "runs").runs == ()


@pytest.mark.slow
def test_a_run_has_the_threads_that_its_options_name(cluster: TwoNodes, tmp_path: Path) -> None:
    """Whatever Ray sets OMP_NUM_THREADS to: that is the number of its CPUs."""
    job = make_job(tmp_path / "runs", threads=2, freezing={"name": "head-only"})
    scheduler = Noting()
    Ray(address=cluster.address).execute([job], None, scheduler)
    run = scheduler.ends["job"].run
    assert run is not None
    assert read_record(tmp_path / "runs" / run).environment.threads == 2


@pytest.mark.slow
def test_a_run_that_no_node_can_hold_waits_and_says_so(cluster: TwoNodes, tmp_path: Path) -> None:
    class Impatient(Noting):
        def report(self, job: Job, message: Message) -> None:
            super().report(job, message)
            raise KeyboardInterrupt

    job = msgspec.structs.replace(make_job(tmp_path / "runs"), cpus=3)
    scheduler = Impatient()
    with pytest.raises(KeyboardInterrupt):
        Ray(address=cluster.address).execute([job], None, scheduler)
    assert scheduler.notes == [
        "no node of the Ray cluster has the 3 CPUs it needs; the largest has 1 CPUs; "
        "waiting for one that has"
    ]
    assert scheduler.ends["job"].status == "interrupted"


@pytest.mark.slow
def test_an_interrupted_run_is_stored_with_what_it_has_learned(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    class Stops(Noting):
        def report(self, job: Job, message: Message) -> None:
            # Beyond the first evaluation: before it there is nothing to be stored.
            training = isinstance(message, JobProgress) and message.phase == "training"
            if training and message.done > 4:
                raise KeyboardInterrupt

    jobs = [
        make_job(tmp_path / "runs", key, train={"epochs": 200, "eval_every": 4})
        for key in ("a", "b", "c")
    ]
    scheduler = Stops()
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
        [*cluster.head.does("clsbench "), *cluster.second.does("clsbench ")]
    )


@pytest.mark.slow
def test_a_job_has_its_gpu_in_a_cluster_that_the_caller_has_joined(tmp_path: Path) -> None:
    """The GPU is one that Ray only believes in; the caller's cluster is used, and left."""
    ray = pytest.importorskip("ray", reason="pip install 'clsbench[ray]'")

    class Looking(Noting):
        free: float | None = None

        def report(self, job: Job, message: Message) -> None:
            super().report(job, message)
            if self.free is None:
                self.free = ray.available_resources().get("GPU", 0)

    job = make_job(tmp_path / "runs", freezing={"name": "head-only"})
    job = msgspec.structs.replace(job, gpus=1)
    ray.init("local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        scheduler = Looking()
        Ray().execute([job], None, scheduler)
        assert scheduler.ends["job"].status == "finished"
        assert scheduler.free == 0
        assert ray.is_initialized()
        scheduler = Looking()
        with pytest.raises(UsageError, match="no node of the Ray cluster has the 1 CPUs and 2 GPU"):
            Ray().execute([msgspec.structs.replace(job, gpus=2)], None, scheduler)
        assert scheduler.ends["job"].status == "interrupted"
    finally:
        ray.shutdown()
